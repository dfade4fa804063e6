"""The stream: an ordered list of tasks over one table, and the parts on which it is evaluated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clsuite.data.class_names import ClassName
from clsuite.data.table import ImageTable
from clsuite.errors import UserError

if TYPE_CHECKING:
    pass

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """One task (experience): rows of the table for training, validation and test.

    Attributes:
        index: Position in the stream, from 0.
        name: Name for readers: class names or the domain.
        classes: Stream labels that occur in the task, ascending.
        train: Rows of the training part, in the table's order.
        validation: Rows of the validation part; may be empty.
        test: Rows of the test part; recurring tasks may share it.
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
class EvalSplit:
    """One part of the evaluation: a column of the accuracy matrix.

    Attributes:
        index: Position among the parts, from 0.
        name: Name for readers.
        classes: Stream labels that occur in it, ascending.
        test: Rows of the table; no row is in two parts.
        learned: Index of the first task after which all its classes have been seen; for domains, of its own task.
    """

    index: int
    name: str
    classes: tuple[int, ...]
    test: Rows
    learned: int


@dataclass(frozen=True)
class Scenario:
    """A stream, which is a deterministic function of data, parameters and seed.

    Classes are numbered by their first appearance in the stream (*stream labels*), so that the classes seen after any
    task are the first ones, and so are their logits.

    Attributes:
        kind: One of `clsuite.scenarios.catalog.KINDS`.
        table: The images.
        labels: int64 ``[N]``, the stream label of every row of the table.
        classes: Class names by stream label.
        tasks: The tasks in order.
        separate_splits: The evaluation parts if they are not the tasks' test parts, else empty. Use `eval_splits` to
            read them.
        batch_repeats: Number of consecutive steps on each batch of training.
        planned: Number of tasks before the stream was cut; None if it was not. Use `planned_tasks` to read it.
    """

    kind: str
    table: ImageTable
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    tasks: tuple[Task, ...]
    separate_splits: tuple[EvalSplit, ...] = ()
    planned: int | None = None
    batch_repeats: int = 1

    @cached_property
    def class_names(self) -> tuple[ClassName, ...]:
        """What prompts call each class, by stream label."""
        known = dict(zip(self.table.classes, self.table.class_names, strict=True))
        return tuple(known[name] for name in self.classes)

    @property
    def planned_tasks(self) -> int:
        """Number of tasks of the whole stream; a stream that was cut has fewer."""
        return self.planned or len(self.tasks)

    @cached_property
    def eval_splits(self) -> tuple[EvalSplit, ...]:
        """The evaluation parts: by default the test part of each task."""
        return self.separate_splits or tuple(
            EvalSplit(task.index, task.name, task.classes, task.test, task.index) for task in self.tasks
        )

    def seen_classes(self, tasks: int) -> int:
        """Number of classes seen in the first `tasks` tasks."""
        return 1 + max((max(task.classes) for task in self.tasks[:tasks]), default=-1)

    @property
    def stream_classes(self) -> int:
        """Number of classes of all tasks together, whose names all compete in an open vocabulary."""
        return self.seen_classes(len(self.tasks))

    def first(self, tasks: int) -> Scenario:
        """The stream cut after its first tasks (for a quick look), with the parts that are learned in them.

        Raises:
            UserError: If no part is learned in them.
        """
        kept = [part for part in self.separate_splits if part.learned < tasks]
        if self.separate_splits and not kept:
            raise UserError(f"no evaluation part is learned in the first {tasks} tasks: take more of them")
        splits = tuple(replace(part, index=index) for index, part in enumerate(kept))
        return replace(self, tasks=self.tasks[:tasks], separate_splits=splits, planned=self.planned_tasks)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the fingerprints of the tasks, in order, and over the parts if they are not the tasks'."""
        prints = [task.fingerprint for task in self.tasks]
        prints += [
            f"{part.learned}:{fingerprint_parts(self.table, self.labels, (part.test,))}"
            for part in self.separate_splits
        ]
        return hashlib.sha256("".join(prints).encode()).hexdigest()


def fingerprint_parts(table: ImageTable, labels: NDArray[np.int64], parts: tuple[Rows, ...]) -> str:
    """sha256 over the sample ids and stream labels of some parts, in order."""
    state = hashlib.sha256()
    for rows in parts:
        state.update(len(rows).to_bytes(8, "little"))
        state.update(np.ascontiguousarray(table.digests[rows]).tobytes())
        state.update(labels[rows].astype("<i8").tobytes())
    return state.hexdigest()
