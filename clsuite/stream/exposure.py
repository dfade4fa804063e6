"""Accuracy on the classes that training has used so far, at any moment of a stream."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.metrics.counts import Floats
from clsuite.stream.evaluation import AccuracyMatrix


class Exposure:
    """Records the exposed classes and the accuracy on their test images (A_AUC: Koh et al., ICLR 2022).

    A class is exposed as soon as a batch has an image of it. Predictions are made among the exposed classes, since the
    paper's head has no others. A subset of the test images is evaluated. Each class is weighted by the number of its
    test images, so that the result estimates the accuracy on all test images of the exposed classes. A class without an
    image in the subset does not count.
    """

    def __init__(self, matrix: AccuracyMatrix, columns: NDArray[np.int64]) -> None:
        """Start without exposed classes.

        Args:
            matrix: The accuracy matrix.
            columns: Its columns that are evaluated within tasks.
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
        """Mask of the columns whose classes are exposed."""
        chosen: NDArray[np.bool_] = self._met[self._labels]
        return chosen

    def begin(self, tasks: int) -> None:
        """Begin a task: the classes of the earlier tasks are exposed.

        Args:
            tasks: Number of earlier tasks.
        """
        self._points = {}
        self._met[:] = False
        self._met[: self._matrix.scenario.seen_classes(tasks)] = True

    def meet(self, labels: NDArray[np.int64]) -> None:
        """Add the classes of a batch to the exposed ones."""
        self._met[labels] = True

    def mask(self, seen: int) -> Tensor:
        """Mask ``[seen]`` of the first classes: 0 for exposed ones, a large negative number for the others."""
        return torch.from_numpy(np.where(self._met[:seen], 0.0, -1e30).astype(np.float32))

    def read(self, step: int, predicted: NDArray[np.int64]) -> None:
        """Record the accuracy after a step.

        Args:
            step: Number of the step in the task.
            predicted: Labels ``[columns]`` predicted among the exposed classes; others are ignored.
        """
        weights = self._weights * self.asked
        total = float(weights.sum())
        self._points[step] = float((weights * (predicted == self._labels)).sum()) / total if total else None

    def finish(self, row: int, step: int) -> list[float | None]:
        """Return the accuracies of the task by step, the last one computed from a row of the matrix.

        Args:
            row: The row after the task, at which all its classes are exposed.
            step: Number of steps of the task.
        """
        self._met[: self._matrix.scenario.seen_classes(row)] = True
        self.read(step, self._matrix.class_incremental[row, self._columns].astype(np.int64))
        return [accuracy for _, accuracy in sorted(self._points.items())]
