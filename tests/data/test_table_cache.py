"""The cache of decoded tables: memory-mapped, keyed by content, never half-built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsuite.data import cache, datasets
from clsuite.data.cache import cache_folder, cached_table
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.errors import UserError

SHAPE = (2, 1, 1, 3)


class Build:
    """Fills a table of two images and counts how often."""

    def __init__(self, value: int = 7) -> None:
        self.value, self.times = value, 0

    def __call__(self, images: np.ndarray) -> ImageTable:
        self.times += 1
        images[:] = self.value
        return ImageTable(
            images=images,
            labels=np.array([0, 1]),
            domains=np.array([0, 0]),
            is_test=np.array([False, True]),
            digests=np.arange(32, dtype=np.uint8).reshape(2, 16),
            classes=("ä", "b"),
            domain_names=("",),
        )


def test_what_was_built_comes_back_from_disk(tmp_path: Path) -> None:
    table = cached_table(["x"], SHAPE, Build(), tmp_path)
    assert isinstance(table.images, np.memmap)
    assert table.images.tolist() == np.full(SHAPE, 7).tolist()
    assert table.labels.tolist() == [0, 1]
    assert table.is_test.tolist() == [False, True]
    assert table.digests.tolist() == np.arange(32).reshape(2, 16).tolist()
    assert table.classes == ("ä", "b")
    assert table.domain_names == ("",)


def test_it_is_built_once(tmp_path: Path) -> None:
    build = Build()
    first = cached_table(["x"], SHAPE, build, tmp_path)
    second = cached_table(["x"], SHAPE, build, tmp_path)
    assert build.times == 1
    assert second.images.tolist() == first.images.tolist()


@pytest.mark.parametrize(("content", "shape"), [(["y"], SHAPE), (["x"], (2, 1, 3, 1))])
def test_other_content_and_other_sizes_are_other_tables(tmp_path: Path, content: Any, shape: tuple[int, ...]) -> None:
    build = Build()
    cached_table(["x"], SHAPE, build, tmp_path)
    assert cached_table(content, shape, build, tmp_path).images.shape == shape
    assert build.times == 2


def test_nobody_can_write_into_it(tmp_path: Path) -> None:
    table = cached_table(["x"], SHAPE, Build(), tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        table.images[0] = 1


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(images: np.ndarray) -> ImageTable:
        images[:] = 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_table(["x"], SHAPE, fail, tmp_path)
    assert list((tmp_path / "tables").iterdir()) == []


KILLED = """
import os, sys
from pathlib import Path
from clsuite.data.cache import cached_table

def build(images):
    images[:] = 1
    images.flush()
    os._exit(9)

cached_table(["x"], (2, 1, 1, 3), build, Path(sys.argv[1]))
"""


def test_a_killed_build_leaves_nothing_that_counts(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == 9
    left = [path.name for path in (tmp_path / "tables").iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".building-")
    build = Build()
    assert cached_table(["x"], SHAPE, build, tmp_path).images.tolist() == np.full(SHAPE, 7).tolist()
    assert build.times == 1


def test_another_process_that_finishes_while_we_build_does_no_harm(tmp_path: Path) -> None:
    mine, theirs = Build(1), Build(1)

    def build(images: np.ndarray) -> ImageTable:
        cached_table(["x"], SHAPE, theirs, tmp_path)
        return mine(images)

    table = cached_table(["x"], SHAPE, build, tmp_path)
    assert (mine.times, theirs.times) == (1, 1)
    assert table.images.tolist() == np.ones(SHAPE).tolist()
    assert len(list((tmp_path / "tables").iterdir())) == 1


def test_another_process_that_finishes_just_before_our_rename_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def overtaken(source: Path, target: Path) -> None:
        shutil.copytree(source, target)
        replace(source, target)

    monkeypatch.setattr(cache.os, "replace", overtaken)
    table = cached_table(["x"], SHAPE, Build(), tmp_path)
    assert table.images.tolist() == np.full(SHAPE, 7).tolist()
    assert len(list((tmp_path / "tables").iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the table cache '.*file/tables'.*Set CLSUITE_CACHE"):
        cached_table(["x"], SHAPE, Build(), tmp_path / "file")


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    cached_table(["x"], SHAPE, Build())
    assert (tmp_path / "mine" / "tables").is_dir()
    monkeypatch.delenv("CLSUITE_CACHE")
    assert cache_folder().name == "clsuite"


# -- image folders through the cache --


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The number of files that each decoding of a folder has read; the cache is the test's own."""
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    calls: list[int] = []
    real: Callable[..., ImageTable] = datasets.folder_table

    def counting(files: list[Any], *arguments: Any) -> ImageTable:
        calls.append(len(files))
        return real(files, *arguments)

    monkeypatch.setattr(datasets, "folder_table", counting)
    return calls


def load(root: Path, size: int = 4) -> ImageTable:
    return load_table(DatasetSpec(name="image_folder", path=str(root)), size)


def test_the_second_call_decodes_nothing(plain_tree: Path, decoded: list[int]) -> None:
    first = load(plain_tree)
    second = load(plain_tree)
    assert decoded == [5]
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.digests, second.digests)


def test_a_changed_file_gives_another_table(plain_tree: Path, decoded: list[int]) -> None:
    before = load(plain_tree)
    path = plain_tree / "train/dog/1.png"
    Image.new("RGB", (6, 4), (9, 9, 9)).save(path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    after = load(plain_tree)
    assert decoded == [5, 5]
    assert before.images[2, :, 0, 0].tolist() == [0, 0, 255]
    assert after.images[2, :, 0, 0].tolist() == [9, 9, 9]


def test_a_new_and_a_renamed_file_give_other_tables(plain_tree: Path, decoded: list[int]) -> None:
    load(plain_tree)
    Image.new("RGB", (6, 4)).save(plain_tree / "train/dog/2.png")
    load(plain_tree)
    (plain_tree / "train/dog/2.png").rename(plain_tree / "train/cat/2.png")
    assert load(plain_tree).labels.tolist() == [0, 0, 0, 1, 0, 1]
    assert decoded == [5, 6, 6]


def test_another_size_is_another_table(plain_tree: Path, decoded: list[int]) -> None:
    assert load(plain_tree, 4).images.shape == (5, 3, 4, 4)
    assert load(plain_tree, 6).images.shape == (5, 3, 6, 6)
    assert decoded == [5, 5]


def test_a_tree_that_moved_is_the_same_table(plain_tree: Path, decoded: list[int]) -> None:
    load(plain_tree)
    moved = plain_tree.rename(plain_tree.parent / "moved")
    load(moved)
    assert decoded == [5]
