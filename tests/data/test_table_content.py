"""What a table is keyed by: the bytes of the files that count, and nothing else about them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from clsuite.data import file_digests as digests
from clsuite.data.datasets import load_table
from clsuite.data.file_digests import file_digests
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable, digest
from clsuite.errors import UserError

Tree = Callable[..., Path]
PAST = time.time_ns() - 10**12


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(root: Path, size: int = 4) -> ImageTable:
    return load_table(DatasetSpec(name="image_folder", path=str(root)), size)


def tables(cache: Path) -> int:
    return len(list((cache / "tables").iterdir()))


def same(one: ImageTable, other: ImageTable) -> bool:
    return np.array_equal(one.images, other.images) and np.array_equal(one.digests, other.digests)


def test_a_copy_with_names_sizes_and_times_of_another_has_its_own_pixels(plain_tree: Path, cache: Path) -> None:
    """What ``cp -p``, rsync, tar and zip do after an edit; BMP files of one size have equally many bytes."""
    for path in list(plain_tree.rglob("*.png")):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    copy = plain_tree.parent / "copy"
    shutil.copytree(plain_tree, copy)
    for path in copy.rglob("*.bmp"):
        original = plain_tree / path.relative_to(copy)
        ImageOps.invert(Image.open(path)).save(path)
        shutil.copystat(original, path)
        assert path.stat().st_size == original.stat().st_size
        assert path.stat().st_mtime_ns == original.stat().st_mtime_ns
    np.testing.assert_array_equal(255 - load(plain_tree).images, load(copy).images)
    assert tables(cache) == 2


def test_a_file_that_was_edited_and_got_its_time_back_is_read_again(plain_tree: Path) -> None:
    path = plain_tree / "train/dog/1.png"
    before = load(plain_tree)
    times = path.stat()
    content = path.read_bytes()
    Image.new("RGB", (6, 4), (0, 0, 254)).save(path)
    assert len(path.read_bytes()) == len(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not same(before, load(plain_tree))


def test_runs_and_notes_in_the_data_folder_make_no_other_table(plain_tree: Path, cache: Path) -> None:
    load(plain_tree)
    for name in ("runs/ncm/seed0.json", "runs/ncm/seed0.npz", "notes.txt", "train/README.md", ".git/HEAD"):
        (plain_tree / name).parent.mkdir(parents=True, exist_ok=True)
        (plain_tree / name).write_text("x")
    load(plain_tree)
    assert tables(cache) == 1


def test_one_image_set_is_one_table_wherever_it_lies(plain_tree: Path, cache: Path) -> None:
    load(plain_tree)
    shutil.copytree(plain_tree, plain_tree.parent / "copy")
    load(plain_tree.parent / "copy")
    assert tables(cache) == 1


def test_classes_and_parts_are_content(plain_tree: Path, cache: Path) -> None:
    load(plain_tree)
    (plain_tree / "class_names.txt").write_text("cat\tfeline\n")
    assert load(plain_tree).classes == ("feline", "dog")
    (plain_tree / "train/cat/b.png").rename(plain_tree / "test/cat/b.png")
    assert load(plain_tree).is_test.sum() == 3
    assert tables(cache) == 3


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_what_is_delivered_is_what_the_files_hold(tmp_path: Path, seed: int) -> None:
    """Whatever is touched, swapped and renamed: a label and its pixels are those of a file that is there now."""
    random = np.random.RandomState(seed)
    root = tmp_path / f"tree{seed}"
    for part, label in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")):
        (root / part / label).mkdir(parents=True, exist_ok=True)
        for index in range(2):
            color = tuple(random.randint(0, 256, 3).tolist())
            Image.new("RGB", (4, 4), color).save(root / part / label / f"{index}.bmp")  # type: ignore[arg-type]
    for _ in range(3):
        table = load(root)
        files = sorted((root / "train").rglob("*.bmp")) + sorted((root / "test").rglob("*.bmp"))
        for row, path in enumerate(files):
            np.testing.assert_array_equal(table.digests[row], digest(path.read_bytes()))
            assert table.images[row, :, 0, 0].tolist() == list(Image.open(path).getpixel((0, 0)))  # type: ignore[arg-type]
            assert table.classes[table.labels[row]] == path.parent.name
        one, other = random.choice(len(files), 2, replace=False)
        files[one].rename(root / "aside")
        files[other].rename(files[one])
        (root / "aside").rename(files[other])
        touched = files[random.randint(len(files))]
        os.utime(touched, ns=(0, int(random.randint(2**31))))


def aged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock run ahead, so that what was just written is settled."""
    now = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: now() + 60 * 10**9)


def test_an_unchanged_file_is_read_once(plain_tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(plain_tree, monkeypatch)
    read: list[str] = []
    real = digests._read
    monkeypatch.setattr(digests, "_read", lambda path: read.append(path) or real(path))  # type: ignore[func-returns-value]
    names = ["train/cat/a.png", "train/dog/1.png"]
    first = file_digests(plain_tree, names, cache)
    np.testing.assert_array_equal(file_digests(plain_tree, names, cache), first)
    np.testing.assert_array_equal(file_digests(plain_tree, names[::-1], cache), first[::-1])
    assert len(read) == 2
    moved = plain_tree.rename(plain_tree.parent / "moved")
    np.testing.assert_array_equal(file_digests(moved, names, cache), first)
    assert len(read) == 2
    os.utime(moved / names[0], ns=(0, PAST))
    np.testing.assert_array_equal(file_digests(moved, names, cache), first)
    assert len(read) == 3


def test_a_file_that_changed_just_now_is_not_remembered(plain_tree: Path, cache: Path) -> None:
    file_digests(plain_tree, ["train/cat/a.png"], cache)
    assert not (cache / "contents").exists()


def test_a_damaged_memory_is_no_memory(plain_tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aged(plain_tree, monkeypatch)
    first = file_digests(plain_tree, ["train/cat/a.png"], cache)
    (memory,) = (cache / "contents").iterdir()
    content = bytearray(memory.read_bytes())
    content[-3] ^= 1
    memory.write_bytes(content)
    np.testing.assert_array_equal(file_digests(plain_tree, ["train/cat/a.png"], cache), first)


def test_a_cache_that_cannot_be_written_is_read_around(plain_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert file_digests(plain_tree, ["train/cat/a.png"], tmp_path / "file").shape == (1, 16)


def test_a_limited_set_reads_no_more_than_it_needs(plain_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = digests._read
    monkeypatch.setattr(digests, "_read", lambda path: read.append(path) or real(path))  # type: ignore[func-returns-value]
    load_table(DatasetSpec(name="image_folder", path=str(plain_tree), train_per_class=1), 4)
    assert len(read) == 4


@pytest.mark.parametrize("place", ["train/cat/z.png", "test/dog/z.jpg"])
def test_a_link_to_nowhere_is_named(plain_tree: Path, place: str) -> None:
    (plain_tree / place).symlink_to("/gone/x.png")
    with pytest.raises(UserError, match=rf"cannot read the image '.*{place}': No such file.*\(it is a link\)"):
        load(plain_tree)


def test_a_link_to_itself_is_named(plain_tree: Path) -> None:
    (plain_tree / "train/cat/z.png").symlink_to("z.png")
    with pytest.raises(UserError, match=r"cannot read the image '.*z\.png': Too many levels of symbolic links"):
        load(plain_tree)


def test_links_beside_the_images_are_left_alone(plain_tree: Path) -> None:
    (plain_tree / "README").symlink_to("/gone")
    (plain_tree / "train/up").symlink_to("/gone")
    (plain_tree / "loop").symlink_to("loop")
    assert len(load(plain_tree)) == 5


def test_a_link_to_the_folder_above_is_not_followed(plain_tree: Path) -> None:
    (plain_tree / "train/cat/up").symlink_to("..")
    with pytest.warns(match="1 file or folder in .* left out, for example 'train/cat/up'"):
        assert len(load(plain_tree)) == 5


def test_a_file_whose_name_is_not_utf_8_is_read(plain_tree: Path) -> None:
    (plain_tree / "train/cat/a.png").rename(os.fsdecode(os.fsencode(plain_tree) + b"/train/cat/caf\xe9.png"))
    assert len(load(plain_tree)) == 5


def test_a_class_whose_name_is_not_utf_8_is_named(plain_tree: Path) -> None:
    for part in ("train", "test"):
        (plain_tree / part / "cat").rename(os.fsdecode(os.fsencode(plain_tree / part) + b"/caf\xe9"))
    with pytest.raises(UserError, match=r"the name of the folder '.*caf\\udce9' is not UTF-8: rename it"):
        load(plain_tree)


@pytest.mark.parametrize("path", ["~nobody_at_all/x", "a\0b", "file"])
def test_paths_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^[^\n]*$"):
        load_table(DatasetSpec(name="image_folder", path=path), 4)
    with pytest.raises(UserError, match=r"^[^\n]*$"):
        load_table(DatasetSpec(name="pacs", path=path), 4)


def test_a_data_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for spec in (DatasetSpec(name="image_folder", path="img"), DatasetSpec(name="pacs"), DatasetSpec(name="mnist")):
        with pytest.raises(UserError, match="no"):
            load_table(spec, 4, tmp_path / "file")


def test_a_file_that_changes_while_it_is_decoded_is_named(plain_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clsuite.data.decoding import job

    real = job._write_job

    def change(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        Image.new("RGB", (6, 4), (1, 2, 3)).save(plain_tree / "train/dog/1.png")

    monkeypatch.setattr(job, "_write_job", change)
    with pytest.raises(UserError, match=r"dog/1\.png' changed while it was read: run it again"):
        load(plain_tree)
