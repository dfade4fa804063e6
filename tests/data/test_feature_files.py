"""Blocks of features on disk: whole or not there, checked when they are read, and no more of them than may be."""

from __future__ import annotations

import os
import time
import warnings
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsuite.data.feature_files import (
    ABOUT,
    Block,
    DamagedBlockError,
    FeatureFiles,
    blocks_below,
    packed_block,
    read_block,
    trim,
)
from clsuite.errors import InputWarning

GROUP, KEY = "a" * 32, "b" * 32
MUCH = 10**9


def block(seed: int = 0, rows: int = 5) -> Block:
    return Block(np.random.RandomState(seed).randn(rows, 7).astype(np.float32), 1.25)


@pytest.fixture
def files(tmp_path: Path) -> FeatureFiles:
    return FeatureFiles(MUCH, tmp_path)


def path_of(files: FeatureFiles, key: str = KEY) -> Path:
    return files.folder / GROUP / f"{key}.safetensors"


def test_what_was_written_is_read_bit_by_bit(files: FeatureFiles) -> None:
    assert files.read(GROUP, KEY) is None
    files.write(GROUP, KEY, block(), {"backbone": "a"})
    known = files.read(GROUP, KEY)
    assert known is not None
    assert known.features.tobytes() == block().features.tobytes()
    assert known.seconds == 1.25
    assert sorted(path.name for path in path_of(files).parent.iterdir()) == [ABOUT, f"{KEY}.safetensors"]


@pytest.mark.parametrize("place", [4, 20, 60, -1])
def test_a_changed_byte_is_noticed_wherever_it_is(files: FeatureFiles, place: int) -> None:
    files.write(GROUP, KEY, block(), {})
    content = bytearray(path_of(files).read_bytes())
    content[place] ^= 1
    path_of(files).write_bytes(content)
    with pytest.warns(InputWarning, match=r"damaged \(.*\): computed again"):
        assert files.read(GROUP, KEY) is None
    files.write(GROUP, KEY, block(), {})
    assert files.read(GROUP, KEY) is not None


def test_a_cut_file_a_foreign_one_and_one_of_another_name_are_noticed(files: FeatureFiles) -> None:
    files.write(GROUP, KEY, block(), {})
    whole = path_of(files).read_bytes()
    for content in (whole[:-1], whole[:30], b"", b"hello", packed_block(block(), "another")):
        path_of(files).write_bytes(content)
        with pytest.raises(DamagedBlockError):
            read_block(path_of(files))
    path_of(files).unlink()
    path_of(files).mkdir()
    with pytest.warns(InputWarning, match="damaged"):
        assert files.read(GROUP, KEY) is None


def test_a_pipe_in_its_place_holds_nobody_up(files: FeatureFiles) -> None:
    path_of(files).parent.mkdir(parents=True)
    os.mkfifo(path_of(files))
    with pytest.warns(InputWarning, match="not a regular file"):
        assert files.read(GROUP, KEY) is None


def test_a_full_disk_is_told_once_and_nothing_is_lost(files: FeatureFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    files.write(GROUP, KEY, block(), {})
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.warns(InputWarning, match=r"not stored.*No space left on device.*continues without"):
        files.write(GROUP, "c" * 32, block(), {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files.write(GROUP, "d" * 32, block(), {})
    assert files.read(GROUP, KEY) is not None
    assert len(list(files.folder.rglob("*"))) == 3  # the group, what it is, and the first block: no temporary file


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("in the way", encoding="utf-8")
    files = FeatureFiles(MUCH, tmp_path)
    with pytest.warns(InputWarning, match="damaged"):
        assert files.read(GROUP, KEY) is None
    with pytest.warns(InputWarning, match="not stored"):
        files.write(GROUP, KEY, block(), {})


def _write(root: str, number: int) -> None:
    files = FeatureFiles(MUCH, Path(root))
    for _ in range(20):
        files.write(GROUP, KEY, block(), {"backbone": "a"})
        assert files.read(GROUP, KEY) is not None


def test_processes_that_write_the_same_block_leave_it_whole(tmp_path: Path) -> None:
    context = get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        workers = [context.Process(target=_write, args=(str(tmp_path), number)) for number in range(3)]
        for worker in workers:
            worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    files = FeatureFiles(MUCH, tmp_path)
    assert files.read(GROUP, KEY) is not None
    assert len(list(path_of(files).parent.iterdir())) == 2


def test_a_claim_is_one_process_alone_and_ends_with_it(tmp_path: Path) -> None:
    first, second = FeatureFiles(MUCH, tmp_path), FeatureFiles(MUCH, tmp_path)
    with first.claimed(GROUP, KEY, 0.0) as mine, second.claimed(GROUP, KEY, 0.0) as theirs:
        assert (mine, theirs) == (True, False)
        with second.claimed(GROUP, "c" * 32, 0.0) as other:
            assert other
    with second.claimed(GROUP, KEY, 0.0) as theirs:
        assert theirs
    assert list((first.folder / GROUP).iterdir()) == []
    worker = get_context("spawn").Process(target=_claim_and_die, args=(str(tmp_path),))
    worker.start()
    worker.join()
    assert worker.exitcode == 7
    with first.claimed(GROUP, KEY, 0.0) as mine:
        assert mine


def _claim_and_die(root: str) -> None:
    with FeatureFiles(MUCH, Path(root)).claimed(GROUP, KEY, 0.0) as mine:
        os._exit(7 if mine else 1)


def test_where_no_lock_can_be_made_every_claim_is_granted(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("in the way", encoding="utf-8")
    with FeatureFiles(MUCH, tmp_path).claimed(GROUP, KEY, 0.0) as mine:
        assert mine


def test_the_limit_is_kept_and_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    size = len(packed_block(block(), "00"))
    files = FeatureFiles(10 * size + size // 2, tmp_path)
    for number in range(14):
        files.write(GROUP, f"{number:02}", block(number), {})
        used = time.time() - 10_000 + number
        os.utime(path_of(files, f"{number:02}"), (used, used))
    assert files.read(GROUP, "05") is not None  # and so was used just now
    for number in range(14, 20):
        files.write(GROUP, f"{number:02}", block(number), {})
    kept = {path.stem for path, _ in blocks_below(files.folder)}
    assert 8 <= len(kept) <= 11
    assert "05" in kept
    assert "19" in kept
    assert not {"00", "01", "02"} & kept


def test_an_emptied_group_goes_with_its_last_block(files: FeatureFiles) -> None:
    files.write(GROUP, KEY, block(), {})
    assert trim(files.folder, MUCH) == 0
    assert trim(files.folder, 0) > 0
    assert list(files.folder.iterdir()) == []
