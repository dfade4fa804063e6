"""Streams with blurry task boundaries."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from clsuite.data.stable_random import stable_random
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Named, Parts, Source, assemble, evaluation_parts, join_names
from clsuite.scenarios.scenario import Rows, Scenario
from clsuite.scenarios.spec import Blurry

TRIES = 1000
"""Draws in which every task has classes and images before it is said that there is none."""


class Draw(NamedTuple):
    """One draw of the stream.

    Attributes:
        homes: ``[classes]`` home task of each class of the table.
        task_of: ``[N]`` task of each training image.
    """

    homes: NDArray[np.int64]
    task_of: NDArray[np.int64]


def build_blurry(source: Source, spec: Blurry) -> Scenario:
    """Si-blurry: Moon et al., "Online class incremental learning on stochastic blurry task boundary" (ICCV 2023), 3.2.

    A share N of the classes is disjoint: all their images are in one task. The other classes are blurry: each has a
    home task, but a share M of all their images is pooled, shuffled, and handed out again, to each task as many as it
    was to give. How many disjoint classes, blurry classes and scattered images a task has:

    - ``sizes: random``: all by random cuts, as the authors' code draws them (its OnlineSampler with ``rnd_NM``). A task
      that has fewer blurry images than its number gives what it has, so that fewer than M are scattered where the cuts
      are uneven, and the last tasks get what is left. The paper does not say how the blurry classes are divided.
    - ``sizes: blurry_equal``: as many blurry classes in each task (as the authors' batch sampler, which they do not
      use), and what a task cannot give the next ones do, so that exactly M is scattered.
    - ``sizes: equal``: all numbers alike, images in proportion to what is at home (i-Blurry: Koh et al., "Online
      continual learning on class incremental blurry task configuration with anytime inference", ICLR 2022).

    N is rounded down to a multiple of the number of tasks, as in the authors' sampler. It also drops blurry classes
    that do not divide by the number of tasks; here all classes are kept: by the cuts, or with equal numbers in the
    first tasks. The authors let a task be without a class of its own; here that is drawn again, since it could not be
    evaluated (of 50 and 50 classes in five tasks, one draw in a hundred).

    Each image passes once, in one batch; ``repeats`` is the number of steps on it, 1 here and 3 in the authors' runs
    (``online_iter``). Evaluation parts are the homes. Classes are numbered by first appearance, so that scattered
    images of a class may make it known long before its home task.

    Raises:
        UserError: If a task would be without classes or images.
    """
    table, random = source.table, stable_random(source.order_seed, "blurry")
    order = stable_random(source.order_seed, "class order").permutation(len(table.classes))
    if len(order) < spec.tasks:
        raise UserError(f"scenario.tasks is {spec.tasks}, but the data set has only {len(order)} classes")
    whole = source.parts()
    homes, task_of = _drawn(order, table.labels[whole.train], spec, random)
    named = _named(source, whole, homes, task_of, spec.tasks)
    scenario = assemble(spec.kind, table, _by_appearance(source, order, whole.train, task_of), named)
    home_of_test = homes[table.labels[whole.test]]
    columns = [(f"home {task + 1}", whole.test[home_of_test == task]) for task in range(spec.tasks)]
    return replace(scenario, separate_splits=evaluation_parts(scenario, columns), batch_repeats=spec.repeats)


def _drawn(order: NDArray[np.int64], labels: NDArray[np.int64], spec: Blurry, random: RandomState) -> Draw:
    """The first draw in which every task has classes and images.

    Args:
        order: ``[classes]`` the classes in a random order: the disjoint ones, then the blurry ones.
        labels: ``[N]`` class of each training image.
        spec: Number of tasks, N, M and what is random.
        random: Source of the draws.
    """
    disjoint = _share(len(order), spec.disjoint) // spec.tasks * spec.tasks
    blurry = order[disjoint:]
    for _ in range(TRIES if spec.sizes == "random" else 1):
        homes = np.empty(len(order), dtype=np.int64)
        homes[order[:disjoint]] = _disjoint_homes(disjoint, len(blurry), spec, random)
        homes[blurry] = _blurry_homes(len(blurry), spec, random)
        task_of = scatter(homes[labels], np.isin(labels, blurry), spec, random)
        if all(np.bincount(each, minlength=spec.tasks).all() for each in (homes, task_of)):
            return Draw(homes, task_of)
    raise UserError(
        f"scenario.tasks is {spec.tasks}, but {len(order)} classes cut at random leave a task without classes or "
        "images: ask for fewer tasks, a lower 'blurry', or sizes: equal"
    )


def _share(number: int, share: float) -> int:
    """The share of a number, rounded down: 29 of 100, which 100 * 0.29 is not to a machine."""
    return int(number * share + 1e-9)


def _disjoint_homes(disjoint: int, blurry: int, spec: Blurry, random: RandomState) -> NDArray[np.int64]:
    """Home of each disjoint class, ascending; a task may have none where it has blurry ones."""
    if spec.sizes == "equal" or disjoint == 0:
        return np.repeat(np.arange(spec.tasks), disjoint // spec.tasks)
    if spec.sizes == "random":
        return _cut(disjoint, spec.tasks, random)
    if blurry >= spec.tasks:
        cuts = random.randint(0, disjoint + 1, spec.tasks - 1)
    else:
        cuts = 1 + random.permutation(disjoint - 1)[: spec.tasks - 1]
    sizes = np.diff([0, *np.sort(cuts), disjoint])
    return np.repeat(np.arange(spec.tasks), sizes)


def _blurry_homes(number: int, spec: Blurry, random: RandomState) -> NDArray[np.int64]:
    """Home of each blurry class, ascending."""
    if spec.sizes == "random" and number:
        return _cut(number, spec.tasks, random)
    return np.repeat(np.arange(spec.tasks), [len(part) for part in np.array_split(np.arange(number), spec.tasks)])


def _cut(number: int, tasks: int, random: RandomState) -> NDArray[np.int64]:
    """Home of each of a number of classes, ascending, by cuts uniform on ``0..number - 1`` as the authors'."""
    return np.repeat(np.arange(tasks), _between_cuts(number, tasks, random))


def _between_cuts(number: int, tasks: int, random: RandomState) -> NDArray[np.int64]:
    sizes: NDArray[np.int64] = np.diff([0, *np.sort(random.randint(0, number, tasks - 1)), number])
    return sizes


def scatter(home: NDArray[np.int64], blurry: NDArray[np.bool_], spec: Blurry, random: RandomState) -> NDArray[np.int64]:
    """Task of each image, ``[N]``: its home, except for the share M of the blurry ones, which is handed out again.

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
    task[pool] = np.repeat(np.arange(spec.tasks), quotas)[: len(pool)]
    return task


def _quotas(sizes: list[int], spec: Blurry, random: RandomState) -> NDArray[np.int64]:
    """How many images each task gives and gets: together the share M of all.

    None gives more than it has: with ``sizes: random`` the numbers are those of the cuts all the same, else the next
    tasks give what is missing.
    """
    total, available = _share(sum(sizes), spec.blurry), np.array(sizes, dtype=np.int64)
    if spec.sizes == "random":
        return _between_cuts(total, spec.tasks, random) if total else np.zeros_like(available)
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
