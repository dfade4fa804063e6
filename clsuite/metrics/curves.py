"""Accuracy within tasks: correct predictions on a fixed subset of each evaluation part, repeatedly during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clsuite.metrics.counts import Floats


@dataclass(frozen=True, eq=False)
class Curves:
    """Correct predictions during each task.

    Attributes:
        steps: For each of the T tasks, ascending ``[E]``: number of optimizer steps in the task before each evaluation.
            The last evaluation is after the task.
        correct: For each task ``[E, C]``: correct predictions on part ``j``; 0 if ``learned[j]`` is a later task.
        n: ``[C]`` number of images of each part.
        learned: ``[C]`` task after which each part is first learned.
        every: Number of steps between regular evaluations.
        exposed: For each task ``[E]``: accuracy on the test images of the classes seen so far, `nan` before the first;
            None if it was not measured.
    """

    steps: tuple[NDArray[np.int64], ...]
    correct: tuple[NDArray[np.int64], ...]
    n: NDArray[np.int64]
    learned: NDArray[np.int64]
    every: int
    exposed: tuple[Floats, ...] | None = None

    @classmethod
    def of(
        cls,
        steps: Sequence[ArrayLike],
        correct: Sequence[ArrayLike],
        n: ArrayLike,
        learned: ArrayLike,
        every: int,
        exposed: Sequence[Sequence[float | None]] | None = None,
    ) -> Curves:
        """Check shapes and ranges and build the curves.

        Args:
            steps: As the attribute of the same name.
            correct: Likewise.
            n: Likewise.
            learned: Likewise.
            every: Likewise.
            exposed: Likewise.

        Raises:
            ValueError: If the shapes do not fit, a count is outside ``0..n``, or steps do not ascend.
        """
        times = tuple(np.asarray(task, dtype=np.int64) for task in steps)
        counts = tuple(np.asarray(task, dtype=np.int64) for task in correct)
        sizes, first = np.asarray(n, dtype=np.int64), np.asarray(learned, dtype=np.int64)
        if sizes.ndim != 1 or first.shape != sizes.shape or (sizes <= 0).any() or len(times) != len(counts):
            raise ValueError("curves need the size and the task of each part, and steps and counts of each task")
        for time, count in zip(times, counts, strict=True):
            if time.ndim != 1 or not len(time) or count.shape != (len(time), len(sizes)):
                raise ValueError(f"the curve of a task needs shape (evaluations, {len(sizes)}), got {count.shape}")
            if time[0] < 0 or (np.diff(time) <= 0).any():
                raise ValueError("the steps of a task do not ascend")
            if (count < 0).any() or (count > sizes).any():
                raise ValueError("a count lies outside 0..n")
        if (first < 0).any() or every < 1:
            raise ValueError("a part is learned before the first task, or 'every' is below 1")
        return cls(times, counts, sizes, first, every, _exposed(exposed, times))

    @property
    def tasks(self) -> int:
        """Number of tasks T."""
        return len(self.steps)

    def accuracy(self, task: int) -> Floats:
        """Accuracy on each part at each evaluation of a task, ``[E, C]`` in [0, 1]."""
        shares: Floats = self.correct[task] / self.n
        return shares

    def after_a_step(self, task: int) -> NDArray[np.bool_]:
        """Whether each evaluation of a task is after at least one step, ``[E]``; the last one always counts."""
        after: NDArray[np.bool_] = self.steps[task] > 0
        after[-1] = True
        return after

    def regular(self, task: int) -> NDArray[np.bool_]:
        """Whether each evaluation of a task is regular (after a multiple of `every` steps) or the last one, ``[E]``."""
        chosen: NDArray[np.bool_] = self.after_a_step(task) & (self.steps[task] % self.every == 0)
        chosen[-1] = True
        return chosen


def _exposed(
    values: Sequence[Sequence[float | None]] | None, times: Sequence[NDArray[np.int64]]
) -> tuple[Floats, ...] | None:
    """The accuracies on the classes seen so far, one for each evaluation."""
    if values is None:
        return None
    shares = tuple(np.array(task, dtype=np.float64) for task in values)
    for share, time in zip(shares, times, strict=True):
        if share.shape != time.shape or (share < 0).any() or (share > 1).any():
            raise ValueError("the exposed classes need an accuracy within 0..1 for each evaluation")
    return shares
