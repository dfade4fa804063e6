"""Builds scenarios: class-incremental and domain-incremental streams over a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsuite.data.datasets import training_rows
from clsuite.data.stable_random import stable_random
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios.scenario import Rows, Scenario, Task, fingerprint_parts
from clsuite.scenarios.spec import ScenarioSpec


def build_scenario(table: ImageTable, spec: ScenarioSpec, seed: int, train_per_class: int | None = None) -> Scenario:
    """Build the stream.

    Args:
        table: The images.
        spec: Kind and parameters.
        seed: Decides the order of classes or domains and the validation parts; the test parts belong to the data set.
        train_per_class: Upper bound on the training images of each class and domain.

    Raises:
        UserError: If the data set cannot be cut that way.
    """
    if spec.kind == "class_incremental":
        order, groups, names = _by_classes(table, spec, seed)
    else:
        order, groups, names = _by_domains(table, spec, seed)
    labels = np.argsort(order)[table.labels]
    train, validation = _hold_out(table, training_rows(table, train_per_class), spec.validation, seed)
    test = np.flatnonzero(table.is_test)
    tasks = []
    for index, (member, name) in enumerate(zip(groups, names, strict=True)):
        parts = Parts(*(rows[member[rows]] for rows in (train, validation, test)))
        _check_parts(name, parts)
        classes = tuple(int(label) for label in np.unique(labels[parts.train]))
        fingerprint = fingerprint_parts(table, labels, parts)
        tasks.append(Task(index, name, classes, parts.train, parts.validation, parts.test, fingerprint))
    return Scenario(spec.kind, table, labels, tuple(table.classes[i] for i in order), tuple(tasks))


class Parts(NamedTuple):
    """Rows of the three parts of a task."""

    train: Rows
    validation: Rows
    test: Rows


Groups = tuple[NDArray[np.int64], list[NDArray[np.bool_]], list[str]]


def _by_classes(table: ImageTable, spec: ScenarioSpec, seed: int) -> Groups:
    """Class order, membership mask of each task, and task names."""
    count = len(table.classes)
    order = np.arange(count) if spec.order == "given" else stable_random(seed, "class order").permutation(count)
    sizes = class_sizes(count, spec.tasks or count, spec.first_task)
    ends = np.cumsum(sizes)
    position = np.argsort(order)[table.labels]
    groups = [(position >= end - size) & (position < end) for size, end in zip(sizes, ends, strict=True)]
    names = [_join(table.classes[i] for i in order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    return order, groups, names


def class_sizes(classes: int, tasks: int, first_task: int | None = None) -> list[int]:
    """Number of classes of each task.

    Without `first_task` the classes are shared as evenly as possible; with it, the others share the rest. Where the
    division leaves a rest, the earlier tasks get one class more.

    Raises:
        UserError: If a task would be without classes.
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


def _by_domains(table: ImageTable, spec: ScenarioSpec, seed: int) -> Groups:
    count = len(table.domain_names)
    if count < 2:
        raise UserError("a domain_incremental scenario needs a data set with domains (DOMAIN/train/CLASS/*.png)")
    if spec.first_task is not None:
        raise UserError("scenario.first_task is for class_incremental streams; a domain is a task of its own")
    tasks = spec.tasks or count
    if tasks > count:
        raise UserError(
            f"scenario.tasks is {tasks}, but the data set has only {count} domains: ask for at most {count}"
        )
    order = np.arange(count) if spec.order == "given" else stable_random(seed, "domain order").permutation(count)
    chosen = [int(i) for i in order[:tasks]]
    _check_first_domain(table, chosen)
    return np.arange(len(table.classes)), [table.domains == i for i in chosen], [table.domain_names[i] for i in chosen]


def _check_first_domain(table: ImageTable, chosen: list[int]) -> None:
    """All classes must be known from the first domain on: the head does not grow."""
    present = np.unique(table.labels[(table.domains == chosen[0]) & ~table.is_test])
    missing = sorted(set(range(len(table.classes))) - {int(label) for label in present})
    if missing:
        name = table.domain_names[chosen[0]]
        raise UserError(
            f"domain '{name}' comes first but has no training images of class '{table.classes[missing[0]]}'"
        )


def _hold_out(table: ImageTable, rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """Set aside the validation share of each class and domain; one image at least stays for training."""
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


def _join(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown) if len(shown) <= 4 else f"{shown[0]} … {shown[-1]} ({len(shown)})"
