"""Memory-mapped pages that were read stay in the process's resident memory until something wants it; here we let go."""

from __future__ import annotations

import mmap
from typing import Any

BUDGET = 64 << 20
"""Bytes gathered from a memory map before its pages are let go."""


class Residency:
    """Counts what is gathered from an array, and lets its pages go when the budget is spent.

    The pages stay in the system's page cache: reading them again costs a page fault and no disk access. Without this a
    loop over a table of 10 GB makes the process look 10 GB large, and counts against a container's or a job's bound.
    """

    def __init__(self, images: Any, budget: int = BUDGET) -> None:
        """Watch an array; one that is no memory map is left alone.

        Args:
            images: The array of a table.
            budget: Bytes between two releases.
        """
        mapped = getattr(images, "_mmap", None)
        self._map = mapped if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") else None
        self._budget, self._spent = budget, 0

    def spend(self, gathered: int) -> None:
        """Take note of so many bytes gathered."""
        self._spent += gathered
        if self._map is not None and self._spent >= self._budget:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._spent = 0
