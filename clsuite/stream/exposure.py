"""The accuracy on the classes that training has met so far, at any moment of a stream."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.metrics.counts import Floats
from clsuite.stream.evaluation import AccuracyMatrix


class Exposure:
    """Which classes have been met, and how well their test images are answered (A_AUC: Koh et al., ICLR 2022).

    A class is exposed from its first image in a batch on. Only exposed classes compete: the paper's head has no others.
    The answers are those on a subset of the test images; each class weighs as many as its test set has, so that the
    subset gives the accuracy on all test images of the exposed classes, to the letter where it is all of them. A class
    of which no image is asked does not count.
    """

    def __init__(self, matrix: AccuracyMatrix, columns: NDArray[np.int64]) -> None:
        """Set up; no class is exposed.

        Args:
            matrix: The predictions after each task.
            columns: The columns of it that are asked within tasks.
        """
        self._matrix, self._columns, self._labels = matrix, columns, matrix.labels[columns].astype(np.int64)
        classes = len(matrix.scenario.classes)
        whole = np.bincount(matrix.labels.astype(np.int64), minlength=classes)
        asked = np.bincount(self._labels, minlength=classes)
        self._weights: Floats = (whole / np.maximum(asked, 1))[self._labels]
        self._met = np.zeros(classes, dtype=np.bool_)
        self._points: dict[int, float | None] = {}

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Which of the columns are of exposed classes."""
        chosen: NDArray[np.bool_] = self._met[self._labels]
        return chosen

    def begin(self, tasks: int) -> None:
        """Begin a task; the classes of the tasks before it have been met.

        Args:
            tasks: How many there are.
        """
        self._points = {}
        self._met[:] = False
        self._met[: self._matrix.scenario.seen_classes(tasks)] = True

    def meet(self, labels: NDArray[np.int64]) -> None:
        """Note the classes of a batch."""
        self._met[labels] = True

    def mask(self, seen: int) -> Tensor:
        """``[seen]``: 0 for the exposed ones of the first classes, a large negative number for the others."""
        return torch.from_numpy(np.where(self._met[:seen], 0.0, -1e30).astype(np.float32))

    def read(self, step: int, predicted: NDArray[np.int64]) -> None:
        """Keep the accuracy after a step.

        Args:
            step: Of the task.
            predicted: ``[columns]`` answers among the exposed classes; only those of exposed classes count.
        """
        weights = self._weights * self.asked
        total = float(weights.sum())
        self._points[step] = float((weights * (predicted == self._labels)).sum()) / total if total else None

    def finish(self, row: int, step: int) -> list[float | None]:
        """The accuracies of the task in the order of the steps, the last from a row of the matrix.

        Args:
            row: The row after the task, when all its classes have been met.
            step: Steps of the task.
        """
        self._met[: self._matrix.scenario.seen_classes(row)] = True
        self.read(step, self._matrix.class_incremental[row, self._columns].astype(np.int64))
        return [accuracy for _, accuracy in sorted(self._points.items())]
