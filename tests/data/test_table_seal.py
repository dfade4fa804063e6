"""Tables in the cache are what was written, or are made anew; a full disk is an error of one line."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsuite.data import file_digests as digests
from clsuite.data import seal, space
from clsuite.data.cache import cached_table
from clsuite.data.decoding import Job, decode_all
from clsuite.data.manifest import Manifest, list_pixels
from clsuite.data.seal import DamagedTableError, open_table, table_sha256
from clsuite.data.sequence import join_tables
from clsuite.data.table import ImageTable
from clsuite.errors import DataWarning, UserError

PIXELS = np.random.RandomState(0).randint(0, 256, (600, 5, 5, 3)).astype(np.uint8)


def manifest() -> Manifest:
    labels = np.arange(600) % 3
    return list_pixels((PIXELS[:500], labels[:500]), (PIXELS[500:], labels[500:]), ["a", "b", "c"])


def make(root: Path) -> tuple[ImageTable, Path]:
    table = cached_table(["x"], 5, manifest, folder=root)
    (folder,) = (root / "tables").iterdir()
    return table, folder


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("sealed"))[1]


def images_of(table: ImageTable) -> np.ndarray:
    return table.images.transpose(0, 2, 3, 1)


def flip(path: Path, place: int, bit: int = 1) -> None:
    with path.open("r+b") as opened:
        opened.seek(place)
        (old,) = opened.read(1)
        opened.seek(place)
        opened.write(bytes([old ^ bit]))


@pytest.mark.parametrize("name", ["images.npy", "digests.npy", "columns.npz", "meta.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "gone", "zeros"])
def test_a_damaged_table_is_told_and_made_anew(tmp_path: Path, name: str, how: str) -> None:
    _, folder = make(tmp_path)
    path = folder / name
    content = path.read_bytes()
    middle = len(content) // 2
    changed = {
        "flipped": content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :],
        "cut": content[:middle],
        "zeros": content[:middle] + bytes(len(content) - middle),
    }
    path.unlink() if how == "gone" else path.write_bytes(changed.get(how, b""))
    with pytest.warns(DataWarning, match=r"the table '.*' in the cache is damaged \(.*\): it is made again"):
        table = cached_table(["x"], 5, manifest, folder=tmp_path)
    np.testing.assert_array_equal(images_of(table), PIXELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached_table(["x"], 5, manifest, folder=tmp_path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_the_images_is_noticed(
    sealed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    copy = tmp_path_factory.mktemp("flipped") / "table"
    shutil.copytree(sealed, copy)
    size = (copy / "images.npy").stat().st_size
    flip(copy / "images.npy", data.draw(st.integers(0, size - 1)), 1 << data.draw(st.integers(0, 7)))
    with pytest.raises(DamagedTableError):
        open_table(copy, copy / "checked")


def test_a_change_is_noticed_although_the_state_was_found_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The times of the file are put back; that of its inode cannot be."""
    now = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: now() + 60 * 10**9)
    _, folder = make(tmp_path)
    cached_table(["x"], 5, manifest, folder=tmp_path)
    assert len(list((tmp_path / "checked").iterdir())) == 1
    path = folder / "images.npy"
    times = path.stat()
    flip(path, 200)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.warns(DataWarning, match="its images 0 to 255 have changed since they were written"):
        cached_table(["x"], 5, manifest, folder=tmp_path)


def test_what_was_found_good_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: now() + 60 * 10**9)
    make(tmp_path)
    read: list[int] = []
    real = seal._hash
    monkeypatch.setattr(seal, "_hash", lambda *place: read.append(1) or real(*place))  # type: ignore[func-returns-value]
    for _ in range(3):
        cached_table(["x"], 5, manifest, folder=tmp_path)
    assert len(read) == 3  # the chunks, once


def test_a_new_table_is_looked_at_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "is_settled", lambda status: False)
    make(tmp_path)
    cached_table(["x"], 5, manifest, folder=tmp_path)
    assert not (tmp_path / "checked").exists()


def test_after_a_start_of_the_system_it_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: now() + 60 * 10**9)
    make(tmp_path)
    for boot in ("one", "two", "two"):
        (tmp_path / "boot").write_text(boot)
        monkeypatch.setattr(seal, "BOOT", tmp_path / "boot")
        cached_table(["x"], 5, manifest, folder=tmp_path)
    (checked,) = (tmp_path / "checked").iterdir()
    assert len(checked.read_text().split()) == 2


def test_a_job_laid_out_by_somebody_else_is_not_taken_up(tmp_path: Path) -> None:
    from clsuite.records.canonical import sha256_of

    other = list_pixels((255 - PIXELS[:500], np.zeros(500, np.int64)), (PIXELS[500:], np.zeros(100, np.int64)), ["a"])
    table = cached_table(["y"], 5, lambda: other, folder=tmp_path)
    (folder,) = (tmp_path / "tables").iterdir()
    assert len(table) == 600
    key = sha256_of({"format": 3, "content": [["x"], 5]})[:32]
    building = tmp_path / "tables" / f".building-{key}"
    shutil.copytree(folder, building)
    job = {"size": 5, "count": 600, "root": None, "names": [], "resample": "bicubic"}
    (building / "job.json").write_text(json.dumps(job))
    np.save(building / "marks.npy", np.zeros(3, np.int64))
    np.testing.assert_array_equal(images_of(cached_table(["x"], 5, manifest, folder=tmp_path)), PIXELS)


@pytest.mark.parametrize("what", ["root", "names", "count", "pixels", "digests", "no digests"])
def test_a_job_of_these_files_with_something_else_in_it_is_begun_anew(tmp_path: Path, what: str) -> None:
    building = Job.prepare(tmp_path / "job", manifest(), 5).folder
    said = json.loads((building / "job.json").read_text())
    changed = {"root": str(tmp_path), "names": ["/etc/hostname"] * 600, "count": 3}
    if what in changed:
        (building / "job.json").write_text(json.dumps({**said, what: changed[what]}))
    elif what == "no digests":
        (building / "digests.npy").write_bytes(b"")
    else:
        path = building / f"{what}.npy"
        np.save(path, 255 - np.load(path))
    job = Job.prepare(building, manifest(), 5)
    decode_all(job, 1)
    assert json.loads((building / "job.json").read_text()) == said
    np.testing.assert_array_equal(np.load(building / "images.npy").transpose(0, 2, 3, 1), PIXELS)


# -- the hash of a table --


def test_the_hash_is_the_same_in_memory_and_in_the_cache(tmp_path: Path) -> None:
    table, _ = make(tmp_path)
    columns = {name: np.array(getattr(table, name)) for name in ("images", "labels", "domains", "is_test", "digests")}
    kept = ImageTable(**columns, classes=table.classes, domain_names=table.domain_names)
    assert table_sha256(kept) == table_sha256(table)
    assert table_sha256(ImageTable(**{**vars(table), "images": table.images[::-1]})) != table_sha256(table)
    for name in columns:
        other = columns[name].copy()
        other.flat[0] ^= 1
        assert table_sha256(ImageTable(**{**vars(kept), name: other})) != table_sha256(table)
        assert table_sha256(ImageTable(**{**vars(table), name: other})) != table_sha256(table)
    assert table_sha256(ImageTable(**{**vars(table), "classes": ("a", "b", "d")})) != table_sha256(table)


def test_parts_of_the_memory_map_have_hashes_of_their_own(tmp_path: Path) -> None:
    table, _ = make(tmp_path)
    half = ImageTable(**{**vars(table), "images": table.images[:300]})
    assert table_sha256(half) != table_sha256(table)
    assert table_sha256(half) == table_sha256(ImageTable(**{**vars(half), "images": np.array(half.images)}))


# -- sequences are tables too --


def test_a_damaged_sequence_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path))
    table, first = make(tmp_path)
    joined = join_tables([table, table], ["one", "two"])
    expected = np.array(joined.images)
    (folder,) = set((tmp_path / "tables").iterdir()) - {first}
    flip(folder / "images.npy", 5000)
    with pytest.warns(DataWarning, match="damaged"):
        again = join_tables([table, table], ["one", "two"])
    np.testing.assert_array_equal(again.images, expected)


# -- full disks --

SMALL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_table_seal import manifest
from clsuite.data.cache import cached_table
from clsuite.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    cached_table(["x"], 5, manifest, folder=Path(sys.argv[1]))
except UserError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100, 1000, 9000, 40_000])
def test_a_file_that_cannot_grow_is_one_line(tmp_path: Path, limit: int) -> None:
    command = [sys.executable, "-c", SMALL_DISK, str(tmp_path / "cache"), str(Path(__file__).parent), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout.count("\n") == 1
    assert re.match(r"600 images of 5 px take .* in the table cache '.*', where .* are free \(", done.stdout)
    assert not list((tmp_path / "cache" / "tables").glob("*"))


def test_all_blocks_are_there_before_the_map_is_made(tmp_path: Path) -> None:
    space.reserve(tmp_path / "x.npy", (300, 3, 50, 50))
    assert (tmp_path / "x.npy").stat().st_blocks * 512 >= 300 * 3 * 50 * 50
    assert np.load(tmp_path / "x.npy").sum() == 0


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_where_no_blocks_can_be_asked_for_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    space.reserve(tmp_path / "x.npy", (300, 3, 50, 50))
    assert (tmp_path / "x.npy").stat().st_blocks * 512 >= 300 * 3 * 50 * 50
    assert np.load(tmp_path / "x.npy").shape == (300, 3, 50, 50)


def test_a_full_disk_is_told_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        UserError, match=r"in the table cache '.*tables', where .* \(No space left on device\): set CLSUI"
    ):
        cached_table(["x"], 5, manifest, folder=tmp_path)
    assert not list((tmp_path / "tables").iterdir())


def test_a_table_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(handle: int) -> None:
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        real_sync(handle)

    def replace(source: Path, target: Path) -> None:
        done.append(f"-> {Path(target).name}")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    _, folder = make(tmp_path)
    named = done.index(f"-> {folder.name}")
    assert {"images.npy", "digests.npy", "columns.npz", "meta.json"} <= set(done[:named])
    assert "tables" in done[named:]
