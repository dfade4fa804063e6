"""Reads rows of memory-mapped tables and lets their pages go again."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

KEPT_BYTES = 128 * 2**20
"""Tables up to this size stay resident once read."""


def read_rows(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Copy rows of a table's images.

    Every page that is read would stay in the process's resident memory, in the end the whole table. A large table that
    is mapped read-only therefore gives its pages back after each call. They stay in the system's file cache as long as
    there is room, so that the next read of a row costs a page fault and no disk access.

    Args:
        images: uint8 ``[N, C, H, W]``, an array or a memory map.
        rows: int64 ``[B]``.
    """
    copied = images[rows]
    mapped = getattr(images, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and images.nbytes > KEPT_BYTES and not images.flags.writeable:
        mapped.madvise(mmap.MADV_DONTNEED)
    return copied
