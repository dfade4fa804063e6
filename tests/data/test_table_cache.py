"""The cache of decoded tables: memory-mapped, keyed by content, never half-built, continued after a kill."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsuite.config.paths import cache_folder
from clsuite.data import cache
from clsuite.data.cache import cached_table
from clsuite.data.datasets import load_table
from clsuite.data.decoding import Job
from clsuite.data.manifest import Manifest, Pixels
from clsuite.data.space import size_text
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.errors import UserError

SHAPE = (2, 1, 3, 3)


class Read:
    """Lists two gray images of one value and counts how often."""

    def __init__(self, value: int = 7) -> None:
        self.value, self.times = value, 0

    def __call__(self) -> Manifest:
        self.times += 1
        images = np.full((2, 3, 3), self.value, dtype=np.uint8)
        return Manifest(
            source=Pixels(images, np.arange(32, dtype=np.uint8).reshape(2, 16)),
            labels=np.array([0, 1]),
            domains=np.array([0, 0]),
            is_test=np.array([False, True]),
            classes=("ä", "b"),
        )


def test_what_was_built_comes_back_from_disk(tmp_path: Path) -> None:
    table = cached_table(["x"], 3, Read(), folder=tmp_path)
    assert isinstance(table.images, np.memmap)
    assert table.images.tolist() == np.full(SHAPE, 7).tolist()
    assert table.labels.tolist() == [0, 1]
    assert table.is_test.tolist() == [False, True]
    assert table.digests.tolist() == np.arange(32).reshape(2, 16).tolist()
    assert table.classes == ("ä", "b")
    assert table.domain_names == ("",)


def test_it_is_read_once(tmp_path: Path) -> None:
    read = Read()
    first = cached_table(["x"], 3, read, folder=tmp_path)
    second = cached_table(["x"], 3, read, folder=tmp_path)
    assert read.times == 1
    assert second.images.tolist() == first.images.tolist()


@pytest.mark.parametrize(("content", "size"), [(["y"], 3), (["x"], 5)])
def test_other_content_and_other_sizes_are_other_tables(tmp_path: Path, content: Any, size: int) -> None:
    read = Read()
    cached_table(["x"], 3, read, folder=tmp_path)
    assert cached_table(content, size, read, folder=tmp_path).images.shape == (2, 1, size, size)
    assert read.times == 2


def test_nobody_can_write_into_it(tmp_path: Path) -> None:
    table = cached_table(["x"], 3, Read(), folder=tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        table.images[0] = 1


def test_only_what_a_table_needs_stays(tmp_path: Path) -> None:
    cached_table(["x"], 3, Read(), folder=tmp_path)
    (folder,) = (tmp_path / "tables").iterdir()
    needed = {"images.npy", "digests.npy", "columns.npz", "meta.json", "doubts.json"}
    assert {path.name for path in folder.iterdir()} == needed


def test_a_failed_read_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> Manifest:
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        cached_table(["x"], 3, fail, folder=tmp_path)
    assert list((tmp_path / "tables").iterdir()) == []


@pytest.mark.slow
def test_of_two_processes_one_waits_for_the_other(tmp_path: Path) -> None:
    """Two processes want the same table at once; one reads, and both get it."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from clsuite.data.cache import cached_table\n"
        "from clsuite.data.manifest import list_pixels\n"
        "def read():\n"
        "    print('read', flush=True)\n"
        "    time.sleep(0.5)\n"
        "    part = np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.int64)\n"
        "    return list_pixels(part, part, ['a'])\n"
        "print(len(cached_table(['x'], 3, read, folder=Path(sys.argv[1]))))\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = sorted(one.communicate()[0].split() for one in both)
    assert said == [["4"], ["read", "4"]]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the table cache '.*file/tables'.*Set CLSUITE_CACHE"):
        cached_table(["x"], 3, Read(), folder=tmp_path / "file")


def test_a_disk_that_is_too_small_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 images of 90000000 px take \d+\.\d GB .* are free .*: set CLSUITE_CACHE"):
        cached_table(["x"], 90_000_000, Read(), folder=tmp_path)
    assert list((tmp_path / "tables").iterdir()) == []


@pytest.mark.parametrize("most", [0, 2_000, 20_000])
def test_a_disk_that_fills_up_is_named_with_what_is_needed_and_free(most: int, tmp_path: Path) -> None:
    """As on a full disk, from some size on nothing more can be written; a memory map would end the process."""
    script = (
        "import resource, sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from clsuite.data.cache import cached_table\nfrom clsuite.data.manifest import Manifest, Pixels\n"
        "from clsuite.errors import UserError\n"
        "images = np.zeros((600, 8, 8), np.uint8)\nlabels = np.zeros(600, np.int64)\n"
        "manifest = Manifest(Pixels(images, np.zeros((600, 16), np.uint8)), labels, labels, labels == 0, ('a',))\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, resource.RLIM_INFINITY))\n"
        "try:\n    cached_table(['x'], 8, lambda: manifest, folder=Path(sys.argv[1]))\n"
        "except UserError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = (
        rf"600 images of 8 px take 142\.3 kB in the table cache '{tmp_path / 'tables'}', where \d+\.\d .B are free "
        r"\(File too large\): set CLSUITE_CACHE to another folder, make room, or bound train_per_class\n"
    )
    assert re.fullmatch(told, done.stdout), done.stdout
    assert not list((tmp_path / "tables").iterdir())


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (491_520, "491.5 kB"), (3 * 10**9, "3.0 GB")])
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    cached_table(["x"], 3, Read())
    assert (tmp_path / "mine" / "tables").is_dir()
    monkeypatch.delenv("CLSUITE_CACHE")
    assert cache_folder().name == "clsuite"


# -- image folders through the cache --


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The number of files of each decoding; the cache is the test's own."""
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    calls: list[int] = []
    real: Callable[..., None] = cache.decode_all

    def counting(job: Job, workers: int | None) -> None:
        calls.append(job.count)
        real(job, workers)

    monkeypatch.setattr(cache, "decode_all", counting)
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
