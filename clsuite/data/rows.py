"""Gathering rows of a table, without leaving the memory map's pages in the process."""

from __future__ import annotations

import mmap
import os

import numpy as np
from numpy.typing import NDArray

SMALL = 64 << 20
"""Bytes of a table whose pages may all stay in the process: indexing it is quicker than reading."""


def take_rows(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Copy rows of an array ``[N, ...]``, in their order, to ``[len(rows), ...]``.

    Indexing a memory map makes every page that was touched, and those that the kernel maps around it, count as the
    process's own memory, up to the whole table: it can be taken back at any time, but a container's or a job's bound
    does not know that. So rows of a memory map are read from its file: the pages stay in the system's page cache, and
    only the batch is ours.

    Args:
        images: The images of a table: a memory map, a view of one, or an array.
        rows: Rows, not negative.
    """
    if not _is_large_map(images):
        return np.asarray(images[rows])
    assert isinstance(images, np.memmap)
    assert images.filename is not None
    taken = np.empty((len(rows), *images.shape[1:]), dtype=images.dtype)
    size = images.strides[0]
    if rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < len(images):
        raise IndexError(f"rows {rows.min()} to {rows.max()} of a table of {len(images)}")
    file = os.open(images.filename, os.O_RDONLY)
    try:
        for line, row in zip(taken, rows.tolist(), strict=True):
            if os.preadv(file, [line.data], images.offset + row * size) != size:
                raise OSError(f"'{images.filename}' ends before row {row}: remove it, and it will be made again")
    finally:
        os.close(file)
    return taken


def _is_large_map(images: NDArray[np.uint8]) -> bool:
    """Whether an array is a whole memory map (of a view, the place in the file is not known) of some size."""
    whole = isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap)
    return whole and images.nbytes > SMALL and hasattr(os, "preadv")
