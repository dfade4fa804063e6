"""The stream: an ordered list of tasks over one table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clsuite.data.table import ImageTable

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """One task (experience): rows of the table for training, validation and test.

    Attributes:
        index: Position in the stream, from 0.
        name: What people read: class names or the domain.
        classes: Stream labels that occur in the task, ascending.
        train: Rows of the training part, in the table's order.
        validation: Rows of the validation part; may be empty.
        test: Rows of the test part.
        fingerprint: sha256 over the sample ids and stream labels of the three parts.
    """

    index: int
    name: str
    classes: tuple[int, ...]
    train: Rows
    validation: Rows
    test: Rows
    fingerprint: str


@dataclass(frozen=True)
class Scenario:
    """A deterministic function of data, parameters and seed.

    Classes are numbered by their first appearance in the stream (*stream labels*), so that the classes seen after any
    task are the first ones, and so are their logits.

    Attributes:
        kind: ``class_incremental`` or ``domain_incremental``.
        table: The images.
        labels: int64 ``[N]``, the stream label of every row of the table.
        classes: Class names by stream label.
        tasks: The tasks in order.
    """

    kind: str
    table: ImageTable
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    tasks: tuple[Task, ...]

    def seen_classes(self, tasks: int) -> int:
        """Number of classes seen in the first `tasks` tasks."""
        return 1 + max((max(task.classes) for task in self.tasks[:tasks]), default=-1)

    def first(self, tasks: int) -> Scenario:
        """The stream cut after its first tasks (for a quick look)."""
        return Scenario(self.kind, self.table, self.labels, self.classes, self.tasks[:tasks])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the fingerprints of the tasks, in order."""
        return hashlib.sha256("".join(task.fingerprint for task in self.tasks).encode()).hexdigest()


def fingerprint_parts(table: ImageTable, labels: NDArray[np.int64], parts: tuple[Rows, ...]) -> str:
    """sha256 over the sample ids and stream labels of some parts, in order."""
    state = hashlib.sha256()
    for rows in parts:
        state.update(len(rows).to_bytes(8, "little"))
        state.update(np.ascontiguousarray(table.digests[rows]).tobytes())
        state.update(labels[rows].astype("<i8").tobytes())
    return state.hexdigest()
