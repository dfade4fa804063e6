"""The resident memory of a loop over a memory-mapped table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="counts resident pages as Linux does")
def test_a_loop_keeps_few_pages(tmp_path: Path) -> None:
    """400 MB, of which no more is resident at a time than a batch of 64 and what the kernel maps around each row."""
    expected = write_table(tmp_path / "images.npy", 8000, 129)
    total, growth = grown(tmp_path / "images.npy", 8000, 129)
    assert total == expected
    assert growth < 200


@pytest.mark.nightly
def test_a_hundred_thousand_images_stay_under_300_mb(tmp_path: Path) -> None:
    expected = write_table(tmp_path / "images.npy", 100_000, 64)
    total, growth = grown(tmp_path / "images.npy", 100_000, 64)
    assert total == expected
    assert growth < 300
