"""The stored results of a run: counts of correct predictions, from which all metrics are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Correct predictions before training and after each task.

    Attributes:
        correct: ``[T + 1, C]`` integers: row 0 is before any training, row ``i + 1`` is after learning task ``i``;
            column ``j`` counts the correct predictions on evaluation part ``j``.
        n: ``[C]`` sizes of the evaluation parts.
        learned: ``[C]`` index of the task after which part ``j`` has been learned for the first time. It is ``0..T-1``
            if every task has its own part.
    """

    correct: NDArray[np.int64]
    n: NDArray[np.int64]
    learned: NDArray[np.int64]

    @classmethod
    def of(cls, correct: ArrayLike, n: ArrayLike, learned: ArrayLike | None = None) -> Counts:
        """Check the shapes and ranges and build the counts.

        Args:
            correct: ``[T + 1, C]``.
            n: ``[C]``.
            learned: ``[C]``; by default part ``j`` belongs to task ``j``, and C equals T.

        Raises:
            ValueError: If the shapes do not fit, a count is outside ``0..n``, or a part is learned in no task.
        """
        rows, sizes = np.asarray(correct, dtype=np.int64), np.asarray(n, dtype=np.int64)
        first = np.arange(len(sizes)) if learned is None else np.asarray(learned, dtype=np.int64)
        if learned is None and (sizes.ndim != 1 or rows.shape != (len(sizes) + 1, len(sizes))):
            raise ValueError(f"counts of {len(sizes)} tasks need shape (T + 1, T), got {rows.shape}")
        if rows.ndim != 2 or len(rows) < 2 or rows.shape[1:] != sizes.shape or first.shape != sizes.shape:
            raise ValueError(f"counts of {len(sizes)} parts need shape (T + 1, {len(sizes)}), got {rows.shape}")
        if (sizes <= 0).any() or (rows < 0).any() or (rows > sizes).any():
            raise ValueError("a count lies outside 0..n")
        if (first < 0).any() or (first > len(rows) - 2).any():
            raise ValueError(f"a part is learned after a task outside 0..{len(rows) - 2}")
        return cls(rows, sizes, first)

    @property
    def tasks(self) -> int:
        """Number of tasks T."""
        return len(self.correct) - 1

    @property
    def earlier(self) -> NDArray[np.int64]:
        """The parts that were learned before the last task, which can have been forgotten."""
        return np.flatnonzero(self.learned < self.tasks - 1)

    @property
    def just_learned(self) -> Floats:
        """Accuracy on each part just after it was learned, ``[C]``: the diagonal of the matrix if parts are tasks."""
        values: Floats = self.accuracy[self.learned, np.arange(len(self.n))]
        return values

    @property
    def initial(self) -> Floats:
        """Accuracy before any training, ``[C]`` in [0, 1]."""
        initial: Floats = self.correct[0] / self.n
        return initial

    @property
    def accuracy(self) -> Floats:
        """The accuracy matrix ``A[i, j]``: on part ``j`` after learning task ``i``, ``[T, C]`` in [0, 1]."""
        matrix: Floats = self.correct[1:] / self.n
        return matrix

    def __eq__(self, other: Any) -> bool:
        return (
            isinstance(other, Counts)
            and np.array_equal(self.correct, other.correct)
            and np.array_equal(self.n, other.n)
            and np.array_equal(self.learned, other.learned)
        )
