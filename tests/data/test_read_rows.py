"""Rows of memory maps, and the memory that reading them leaves behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from clsuite.data import table
from clsuite.data.table import read_rows

MEGABYTE = 2**20


@pytest.fixture
def images(tmp_path: Path) -> NDArray[np.uint8]:
    """A mapped table of 96 images of a megabyte each."""
    path = tmp_path / "images.npy"
    written = np.lib.format.open_memmap(path, "w+", np.uint8, (96, 1, 1024, 1024))
    for row in range(96):
        written[row] = row
    written.flush()
    del written
    return np.load(path, mmap_mode="r")


def growth(images: NDArray[np.uint8]) -> float:
    """Megabytes by which this process grows while all rows are read, a few at a time."""
    process = psutil.Process()
    before = process.memory_info().rss
    for start in range(0, 96, 2):
        copied = read_rows(images, np.array([start + 1, start]))
        assert type(copied) is np.ndarray
        assert (copied == np.array([start + 1, start])[:, None, None, None]).all()
    return (process.memory_info().rss - before) / MEGABYTE


def test_a_large_table_leaves_nothing_behind(images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    assert growth(images) > 80, "without release the table stays"
    monkeypatch.setattr(table, "KEPT_BYTES", 50 * MEGABYTE)
    growth(images)
    assert growth(images) < 16


def test_a_table_that_is_written_keeps_its_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "KEPT_BYTES", 0)
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((3, 1, 2, 2), dtype=np.uint8))
    private = np.load(path, mmap_mode="c")
    private[1] = 7
    for _ in range(2):
        assert (read_rows(private, np.array([1])) == 7).all()


def test_an_array_is_read_as_it_is() -> None:
    assert read_rows(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), np.array([2, 0])).ravel().tolist() == [2, 0]
