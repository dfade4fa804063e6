"""Streams with blurry task boundaries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from clsuite.data.stable_random import stable_random
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Named, Parts, Source, assemble, evaluation_parts, join_names
from clsuite.scenarios.scenario import Rows, Scenario
from clsuite.scenarios.spec import Blurry


def build_blurry(source: Source, spec: Blurry) -> Scenario:
    """Si-blurry: Moon et al., "Online class incremental learning on stochastic blurry task boundary" (ICCV 2023), 3.2.

    A share N of the classes is disjoint: all their images are in one task, and the number of such classes of a task is
    random. The other classes are blurry: each has a home task (the same number in each), but a share M of all their
    images is pooled, shuffled, and handed out again; a task gives and gets the same random number of them. With
    ``sizes: equal`` these numbers are the same for all tasks (i-Blurry: Koh et al., ICLR 2022). N is rounded down to a
    multiple of the number of tasks, as in the authors' sampler; classes that do not divide go to the first tasks.

    Evaluation parts are the homes. Classes are numbered by first appearance, so that scattered images of a class may
    make it known long before its home task.

    Raises:
        UserError: If a task would be without classes.
    """
    table, random = source.table, stable_random(source.order_seed, "blurry")
    order = stable_random(source.order_seed, "class order").permutation(len(table.classes))
    disjoint = int(len(order) * spec.disjoint) // spec.tasks * spec.tasks
    if len(order) < spec.tasks:
        raise UserError(f"scenario.tasks is {spec.tasks}, but the data set has only {len(order)} classes")
    homes = np.empty(len(order), dtype=np.int64)
    homes[order[:disjoint]] = _disjoint_homes(disjoint, len(order) - disjoint, spec, random)
    blurry = order[disjoint:]
    homes[blurry] = np.repeat(np.arange(spec.tasks), [len(part) for part in np.array_split(blurry, spec.tasks)])
    whole = source.parts()
    task_of = scatter(homes[table.labels[whole.train]], np.isin(table.labels[whole.train], blurry), spec, random)
    named = _named(source, whole, homes, task_of, spec.tasks)
    scenario = assemble(spec.kind, table, _by_appearance(source, order, whole.train, task_of), named)
    home_of_test = homes[table.labels[whole.test]]
    columns = [(f"home {task + 1}", whole.test[home_of_test == task]) for task in range(spec.tasks)]
    return replace(scenario, columns=evaluation_parts(scenario, columns))


def _disjoint_homes(disjoint: int, blurry: int, spec: Blurry, random: RandomState) -> NDArray[np.int64]:
    """Home of each disjoint class, ascending; a task may have none where it has blurry ones."""
    if spec.sizes == "equal" or disjoint == 0:
        return np.repeat(np.arange(spec.tasks), disjoint // spec.tasks)
    if blurry >= spec.tasks:
        cuts = random.randint(0, disjoint + 1, spec.tasks - 1)
    else:
        cuts = 1 + random.permutation(disjoint - 1)[: spec.tasks - 1]
    sizes = np.diff([0, *np.sort(cuts), disjoint])
    return np.repeat(np.arange(spec.tasks), sizes)


def scatter(home: NDArray[np.int64], blurry: NDArray[np.bool_], spec: Blurry, random: RandomState) -> NDArray[np.int64]:
    """Task of each image, ``[N]``: its home, but for the share M of the blurry ones, which is handed out again.

    Args:
        home: ``[N]`` home task of each image.
        blurry: ``[N]`` whether its class is blurry.
        spec: Number of tasks, M, and whether the tasks' numbers are random or equal.
        random: Source of the draws.
    """
    task = home.copy()
    members = [random.permutation(np.flatnonzero(blurry & (home == index))) for index in range(spec.tasks)]
    quotas = _quotas([len(rows) for rows in members], spec, random)
    pool = random.permutation(np.concatenate([rows[:quota] for rows, quota in zip(members, quotas, strict=True)]))
    task[pool] = np.repeat(np.arange(spec.tasks), quotas)
    return task


def _quotas(sizes: list[int], spec: Blurry, random: RandomState) -> NDArray[np.int64]:
    """How many images each task gives and gets: together the share M of all, none more than it has."""
    total, available = int(sum(sizes) * spec.blurry), np.array(sizes, dtype=np.int64)
    if spec.sizes == "equal":
        weights = np.array(sizes, dtype=np.float64)
    else:
        weights = np.diff([0, *np.sort(random.randint(0, total + 1, spec.tasks - 1)), total]).astype(np.float64)
    wanted = np.floor(weights * total / max(weights.sum(), 1)).astype(np.int64)
    quotas = np.minimum(wanted, available)
    for index in range(spec.tasks):  # what a task cannot give, or rounding left, the next ones do
        quotas[index] += min(total - int(quotas.sum()), available[index] - quotas[index])
    checked: NDArray[np.int64] = quotas
    return checked


def _named(source: Source, whole: Parts, homes: NDArray[np.int64], task_of: Rows, tasks: int) -> list[Named]:
    """Name and rows of each task: validation and test images stay at home."""
    table, named = source.table, []
    for task in range(tasks):
        at_home = [rows[homes[table.labels[rows]] == task] for rows in (whole.validation, whole.test)]
        name = join_names(table.classes[label] for label in np.flatnonzero(homes == task))
        named.append((name, Parts(whole.train[task_of == task], *at_home)))
    return named


def _by_appearance(source: Source, order: NDArray[np.int64], rows: Rows, task_of: Rows) -> NDArray[np.int64]:
    """Classes by the first task in which they occur, then by the class order."""
    labels = source.table.labels[rows]
    first = np.array([task_of[labels == label].min(initial=np.iinfo(np.int64).max) for label in order])
    ordered: NDArray[np.int64] = order[np.argsort(first, kind="stable")]
    return ordered
