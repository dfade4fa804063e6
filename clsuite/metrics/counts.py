"""The stored truth of a run: counts of right answers, from which every metric is a pure function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Right answers before training and after each task.

    Attributes:
        correct: ``[T + 1, T]`` integers: row 0 is before any training, row ``i + 1`` is after learning task ``i``;
            column ``j`` counts the right answers on the test part of task ``j``.
        n: ``[T]`` sizes of the test parts.
    """

    correct: NDArray[np.int64]
    n: NDArray[np.int64]

    @classmethod
    def of(cls, correct: ArrayLike, n: ArrayLike) -> Counts:
        """Check the shapes and ranges and build the counts.

        Raises:
            ValueError: If the shapes do not fit or a count is outside ``0..n``.
        """
        rows, sizes = np.asarray(correct, dtype=np.int64), np.asarray(n, dtype=np.int64)
        if sizes.ndim != 1 or rows.shape != (len(sizes) + 1, len(sizes)):
            raise ValueError(f"counts of {len(sizes)} tasks need shape (T + 1, T), got {rows.shape}")
        if (sizes <= 0).any() or (rows < 0).any() or (rows > sizes).any():
            raise ValueError("a count lies outside 0..n")
        return cls(rows, sizes)

    @property
    def tasks(self) -> int:
        """Number of tasks T."""
        return len(self.n)

    @property
    def initial(self) -> Floats:
        """Accuracy before any training, ``[T]`` in [0, 1]."""
        initial: Floats = self.correct[0] / self.n
        return initial

    @property
    def accuracy(self) -> Floats:
        """The accuracy matrix ``A[i, j]``: on task ``j`` after learning task ``i``, ``[T, T]`` in [0, 1]."""
        matrix: Floats = self.correct[1:] / self.n
        return matrix

    def __eq__(self, other: Any) -> bool:
        return (
            isinstance(other, Counts)
            and np.array_equal(self.correct, other.correct)
            and np.array_equal(self.n, other.n)
        )
