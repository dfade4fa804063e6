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
"""Number of draws, until every task has classes and images, after which an error is raised."""


class Draw(NamedTuple):
    """A random draw of the stream.

    Attributes:
        homes: ``[classes]`` home task of each class in the table.
        task_of: ``[N]`` task of each training image.
    """

    homes: NDArray[np.int64]
    task_of: NDArray[np.int64]


def build_blurry(source: Source, spec: Blurry) -> Scenario:
    """Si-blurry: Moon et al., "Online class incremental learning on stochastic blurry task boundary" (ICCV 2023), 3.2.

    A share N of the classes is disjoint: all their images are in one task. The other classes are blurry: each has a
    home task, but a share M of all their images is pooled, shuffled and redistributed, so that each task receives as
    many images as it gave. The numbers of disjoint classes, blurry classes and scattered images in a task depend on
    ``sizes``:

    - ``random``: all are drawn by random cuts, as in the authors' code (its OnlineSampler with ``rnd_NM``). A task that
      has fewer blurry images than its number gives all it has, so that fewer than M are scattered if the cuts are
      uneven, and the last tasks get the rest. The paper does not say how the blurry classes are divided.
    - ``blurry_equal``: each task has the same number of blurry classes (as in the authors' batch sampler, which they do
      not use), and the next tasks give what a task cannot give, so that exactly M is scattered.
    - ``equal``: all numbers are equal, images in proportion to those of the home classes (i-Blurry: Koh et al., "Online
      continual learning on class incremental blurry task configuration with anytime inference", ICLR 2022).

    N is rounded down to a multiple of the number of tasks, as in the authors' sampler. Their sampler also drops blurry
    classes that cannot be divided evenly among the tasks; here all classes are kept, distributed by the cuts or, with
    equal numbers, to the first tasks. The authors allow tasks without any home class; here these are drawn again,
    because they could not be evaluated (with 50 and 50 classes in five tasks, one draw in a hundred).

    Each image occurs once, in one batch; ``repeats`` is the number of steps on it, 1 here and 3 in the authors' runs
    (``online_iter``). The evaluation parts are the home classes of each task. Classes are numbered by first appearance,
    so that scattered images can make a class known long before its home task.

    Raises:
        UserError: If a task would have no classes or no images.
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
        spec: Number of tasks, N, M and the kind of `sizes`.
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
    """A share of a number, rounded down without floating-point errors (0.29 of 100 is 29, but 100 * 0.29 < 29)."""
    return int(number * share + 1e-9)


def _disjoint_homes(disjoint: int, blurry: int, spec: Blurry, random: RandomState) -> NDArray[np.int64]:
    """Home task of each disjoint class, ascending; a task may have none if it has blurry ones."""
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
    """Home task of each blurry class, ascending."""
    if spec.sizes == "random" and number:
        return _cut(number, spec.tasks, random)
    return np.repeat(np.arange(spec.tasks), [len(part) for part in np.array_split(np.arange(number), spec.tasks)])


def _cut(number: int, tasks: int, random: RandomState) -> NDArray[np.int64]:
    """Home tasks of a number of classes, ascending, by cuts uniform on ``0..number - 1`` as in the authors' code."""
    return np.repeat(np.arange(tasks), _between_cuts(number, tasks, random))


def _between_cuts(number: int, tasks: int, random: RandomState) -> NDArray[np.int64]:
    sizes: NDArray[np.int64] = np.diff([0, *np.sort(random.randint(0, number, tasks - 1)), number])
    return sizes


def scatter(home: NDArray[np.int64], blurry: NDArray[np.bool_], spec: Blurry, random: RandomState) -> NDArray[np.int64]:
    """Task of each image, ``[N]``: its home task, except for the share M of blurry images, which is redistributed.

    Args:
        home: ``[N]`` home task of each image.
        blurry: ``[N]`` whether its class is blurry.
        spec: Number of tasks, M, and the kind of `sizes`.
        random: Source of the draws.
    """
    task = home.copy()
    members = [random.permutation(np.flatnonzero(blurry & (home == index))) for index in range(spec.tasks)]
    quotas = _quotas([len(rows) for rows in members], spec, random)
    pool = random.permutation(np.concatenate([rows[:quota] for rows, quota in zip(members, quotas, strict=True)]))
    task[pool] = np.repeat(np.arange(spec.tasks), quotas)[: len(pool)]
    return task


def _quotas(sizes: list[int], spec: Blurry, random: RandomState) -> NDArray[np.int64]:
    """The number of images that each task gives and receives; together they are the share M of all.

    With ``sizes: random`` these are the numbers of the cuts, even if a task has fewer images. Otherwise no number is
    larger than what a task has, and the next tasks give what is missing.
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
    for index in range(spec.tasks):  # the next tasks give what a task cannot give, or what rounding left
        quotas[index] += min(total - int(quotas.sum()), available[index] - quotas[index])
    checked: NDArray[np.int64] = quotas
    return checked


def _named(source: Source, whole: Parts, homes: NDArray[np.int64], task_of: Rows, tasks: int) -> list[Named]:
    """Name and rows of each task: validation and test images belong to the home task."""
    table, named = source.table, []
    for task in range(tasks):
        at_home = [rows[homes[table.labels[rows]] == task] for rows in (whole.validation, whole.test)]
        name = join_names(table.classes[label] for label in np.flatnonzero(homes == task))
        named.append((name, Parts(whole.train[task_of == task], *at_home)))
    return named


def _by_appearance(source: Source, order: NDArray[np.int64], rows: Rows, task_of: Rows) -> NDArray[np.int64]:
    """Classes sorted by the first task in which they occur, then by the class order."""
    labels = source.table.labels[rows]
    first = np.array([task_of[labels == label].min(initial=np.iinfo(np.int64).max) for label in order])
    ordered: NDArray[np.int64] = order[np.argsort(first, kind="stable")]
    return ordered
