"""The resident memory of a loop over a memory-mapped table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clsuite.data import rows
from clsuite.data.rows import take_rows

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from clsuite.data.batch import BatchLoader
from clsuite.data.table import ImageTable

def resident(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(kind))

number, side = int(sys.argv[2]), int(sys.argv[3])
images = np.load(sys.argv[1], mmap_mode="r")
zeros = np.zeros(number, dtype=np.int64)
table = ImageTable(images, zeros, zeros, zeros.astype(bool), np.zeros((number, 16), np.uint8), ("a",), ("",))
loader = BatchLoader(table, zeros, np.arange(number), 64, shuffle_seed=0)
next(iter(loader))
Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
before = resident("VmRSS")
total = sum(int(batch.images[:, 0, 0, 0].sum()) for _ in range(2) for batch in loader)
print(total, resident("VmHWM") - before)
"""


def write_table(path: Path, number: int, side: int) -> int:
    """Write a table with the first pixel of each image set; the rest are holes in the file, which read as zeros."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (number, 3, side, side))
    images[:, 0, 0, 0] = np.arange(number) % 7
    images.flush()
    return 2 * int((np.arange(number) % 7).sum())


def grown(path: Path, number: int, side: int) -> tuple[int, float]:
    """The sum of the first pixels over two shuffled epochs, and by how many MiB the peak exceeded the start."""
    command = [sys.executable, "-c", SCRIPT, str(path), str(number), str(side)]
    total, growth = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(total), float(growth)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="counts resident pages as Linux does")
def test_a_loop_keeps_few_pages(tmp_path: Path) -> None:
    """400 MB, of which no more than some batches of 3 MB are resident at a time."""
    expected = write_table(tmp_path / "images.npy", 8000, 129)
    total, growth = grown(tmp_path / "images.npy", 8000, 129)
    assert total == expected
    assert growth < 60


@pytest.mark.slow
def test_a_hundred_thousand_images_stay_under_300_mb(tmp_path: Path) -> None:
    expected = write_table(tmp_path / "images.npy", 100_000, 64)
    total, growth = grown(tmp_path / "images.npy", 100_000, 64)
    assert total == expected
    assert growth < 300


@pytest.fixture
def large_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.memmap:
    monkeypatch.setattr(rows, "SMALL", 100)
    images = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (50, 3, 4, 5))
    images[:] = np.random.RandomState(0).randint(0, 256, images.shape)
    images.flush()
    return np.load(tmp_path / "images.npy", mmap_mode="r")


@pytest.mark.parametrize("chosen", [[3, 0, 49, 3], [7], []])
def test_rows_that_are_read_are_those_that_are_indexed(large_map: np.memmap, chosen: list[int]) -> None:
    wanted = np.array(chosen, dtype=np.int64)
    taken = take_rows(large_map, wanted)
    np.testing.assert_array_equal(taken, np.array(large_map)[wanted])
    assert taken.shape == (len(chosen), 3, 4, 5)
    assert type(taken) is np.ndarray


@pytest.mark.parametrize("part", [slice(10, None), slice(None, None, 2)])
def test_a_view_of_a_map_is_indexed(large_map: np.memmap, part: slice) -> None:
    wanted = np.array([4, 1])
    np.testing.assert_array_equal(take_rows(large_map[part], wanted), np.array(large_map)[part][wanted])


@pytest.mark.parametrize("row", [-1, 50])
def test_a_row_that_is_not_there_is_an_error(large_map: np.memmap, row: int) -> None:
    with pytest.raises(IndexError):
        take_rows(large_map, np.array([0, row]))


def test_a_file_that_was_cut_is_named(large_map: np.memmap, tmp_path: Path) -> None:
    with (tmp_path / "images.npy").open("r+b") as opened:
        opened.truncate(300)
    with pytest.raises(OSError, match=r"images\.npy' ends before row 9"):
        take_rows(large_map, np.array([0, 9]))


def test_an_array_in_memory_is_indexed() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(6, 1, 2, 2)
    assert take_rows(images, np.array([5, 0])).tolist() == images[[5, 0]].tolist()
