"""From rows to scenarios: code that all kinds of streams share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsuite.data.datasets import select_indices
from clsuite.data.stable_random import stable_random
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios.scenario import EvalSplit, Rows, Scenario, Task, fingerprint_parts


class Parts(NamedTuple):
    """Rows of the three parts of a task."""

    train: Rows
    validation: Rows
    test: Rows


@dataclass(frozen=True)
class Source:
    """The data and seeds from which a stream is made.

    Attributes:
        table: The images.
        rows: Rows that can be used for training (or held out for validation).
        seed: The seed of the run, which determines the validation parts.
        order_seed: Seed of the order and of other draws of the stream.
        validation: Share of each class that is held out for validation.
    """

    table: ImageTable
    rows: Rows
    seed: int
    order_seed: int
    validation: float

    @classmethod
    def of(
        cls, table: ImageTable, seed: int, order_seed: int | None, validation: float, per_class: int | None
    ) -> Source:
        """The source for a specification."""
        shaping = seed if order_seed is None else order_seed
        return cls(table, select_indices(table, per_class), seed, shaping, validation)

    def parts(self, rows: Rows | None = None) -> Parts:
        """Training, validation and test rows of the whole stream."""
        train, validation = _hold_out(self.table, self.rows if rows is None else rows, self.validation, self.seed)
        return Parts(train, validation, np.flatnonzero(self.table.is_test))


Named = tuple[str, Parts]


def assemble(kind: str, table: ImageTable, order: NDArray[np.int64], named: Sequence[Named]) -> Scenario:
    """Make a scenario whose evaluation parts are its tasks.

    Args:
        kind: The kind of stream.
        table: The images.
        order: Indices into the table's classes, in the order of their first appearance.
        named: Name and rows of each task.

    Raises:
        UserError: If a task has no training or no test images.
    """
    labels = np.argsort(order)[table.labels]
    tasks = []
    for index, (name, parts) in enumerate(named):
        _check_parts(name, parts)
        classes = tuple(int(label) for label in np.unique(labels[parts.train]))
        tasks.append(Task(index, name, classes, *parts, fingerprint_parts(table, labels, parts)))
    return Scenario(kind, table, labels, tuple(table.classes[i] for i in order), tuple(tasks))


def evaluation_parts(scenario: Scenario, named: Sequence[tuple[str, Rows]]) -> tuple[EvalSplit, ...]:
    """Evaluation parts that differ from the tasks; each is learned when all its classes have been seen.

    Raises:
        UserError: If a part has a class that no task trains on.
    """
    parts = []
    for index, (name, rows) in enumerate(named):
        classes = tuple(int(label) for label in np.unique(scenario.labels[rows]))
        learned = next((t for t in range(len(scenario.tasks)) if scenario.seen_classes(t + 1) > max(classes)), None)
        if learned is None:
            raise UserError(f"part '{name}' tests class '{scenario.classes[max(classes)]}', which no task trains")
        parts.append(EvalSplit(index, name, classes, rows, learned))
    return tuple(parts)


def _hold_out(table: ImageTable, rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Hold out the validation share of each class and domain; at least one image remains for training."""
    if share == 0:
        return rows, rows[:0]
    group = table.labels[rows] * len(table.domain_names) + table.domains[rows]
    held = np.zeros(len(rows), dtype=np.bool_)
    for key in np.unique(group):
        members = stable_random(seed, "validation", int(key)).permutation(np.flatnonzero(group == key))
        held[members[: min(round(share * len(members)), len(members) - 1)]] = True
    return rows[~held], rows[held]


def _check_parts(name: str, parts: Parts) -> None:
    if not len(parts.train):
        raise UserError(f"task '{name}' has no training images")
    if not len(parts.test):
        raise UserError(f"task '{name}' has no test images")


def join_names(names: Iterable[str]) -> str:
    """Join class names to the name of a task."""
    shown = list(names)
    return ", ".join(shown) if len(shown) <= 4 else f"{shown[0]} … {shown[-1]} ({len(shown)})"
