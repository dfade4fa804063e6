"""Streams that divide the classes among tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Named, Parts, Source, assemble, join_names
from clsuite.scenarios.order import find_order
from clsuite.scenarios.scenario import Rows, Scenario
from clsuite.scenarios.spec import ByClass


class Groups(NamedTuple):
    """Classes, divided into groups.

    Attributes:
        order: Indices into the table's classes, in the order of the stream.
        sizes: Number of classes of each group, in that order.
    """

    order: NDArray[np.int64]
    sizes: list[int]

    def named_parts(self, table: ImageTable, parts: Parts) -> list[Named]:
        """Name and rows of each group."""
        position, ends = np.argsort(self.order)[table.labels], np.cumsum(self.sizes)
        named = []
        for size, end in zip(self.sizes, ends, strict=True):
            member = (position >= end - size) & (position < end)
            name = join_names(table.classes[i] for i in self.order[end - size : end])
            named.append((name, Parts(*(rows[member[rows]] for rows in parts))))
        return named


def group_classes(source: Source, spec: ByClass) -> Groups:
    """Order and group sizes of a specification.

    Raises:
        UserError: If the classes cannot be divided that way.
    """
    count = len(source.table.classes)
    order = find_order("class", source.table.classes, spec.order, source.order_seed)
    return Groups(order, group_sizes(count, spec))


def group_sizes(classes: int, spec: ByClass) -> list[int]:
    """Number of classes of each task of a specification.

    Raises:
        UserError: If the classes cannot be divided that way.
    """
    if isinstance(spec.tasks, tuple):
        return listed_sizes(classes, spec.tasks)
    if spec.split:
        return split_sizes(classes, spec.split)
    return class_sizes(classes, spec.tasks or classes, spec.first_task)


def build_by_class(kind: str, source: Source, spec: ByClass, rows: Rows | None = None) -> Scenario:
    """A stream with new classes in each task; `rows` are the training rows if not all are used."""
    groups = group_classes(source, spec)
    return assemble(kind, source.table, groups.order, groups.named_parts(source.table, source.parts(rows)))


def class_sizes(classes: int, tasks: int, first_task: int | None = None) -> list[int]:
    """Number of classes of each task.

    Without `first_task` the classes are divided as evenly as possible; with it, the other tasks divide the remaining
    classes. If the numbers are uneven, earlier tasks get one class more.

    Raises:
        UserError: If a task would have no classes.
    """
    if tasks > classes:
        raise UserError(
            f"scenario.tasks is {tasks}, but the data set has only {classes} classes: ask for at most {classes}"
        )
    if first_task is None:
        return [len(part) for part in np.array_split(np.arange(classes), tasks)]
    rest = classes - first_task
    if rest < tasks - 1 or (tasks == 1 and rest):
        raise UserError(
            f"scenario.first_task takes {first_task} of {classes} classes; "
            f"{max(rest, 0)} cannot fill {tasks - 1} more tasks"
        )
    if tasks == 1:
        return [first_task]
    return [first_task, *(len(part) for part in np.array_split(np.arange(rest), tasks - 1))]


def listed_sizes(classes: int, sizes: Sequence[int]) -> list[int]:
    """Number of classes of each task, from a list.

    Raises:
        UserError: If they do not add up to all classes.
    """
    if sum(sizes) != classes:
        raise UserError(
            f"scenario.tasks lists {sum(sizes)} classes in {len(sizes)} tasks, but the data set has {classes}: "
            "their sum must be all classes"
        )
    return list(sizes)


def split_sizes(classes: int, split: str) -> list[int]:
    """Number of classes of each task of ``B50-inc5``: 50, then 5 in each; the last task gets the rest, as in PILOT.

    Raises:
        UserError: If the first task has more classes than there are.
    """
    found = re.fullmatch(r"B(\d+)-inc(\d+)", split)
    assert found is not None
    base, step = int(found[1]), int(found[2])
    if max(base, 1) > classes:
        raise UserError(f"scenario.split is {split}, but the data set has only {classes} classes")
    starts = [*([0] if base else []), *range(base, classes, step)]
    return [int(size) for size in np.diff([*starts, classes])]
