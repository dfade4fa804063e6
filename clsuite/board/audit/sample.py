"""Draws what an audit learns again: not foreseeable without the seed, and the same for everyone who knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsuite.board.audit.cost import RunCost
from clsuite.data.stable_random import stable_random
from clsuite.stream.relearning import IMAGES_TO_A_GRADIENT

PLANNED = 0.95
"""Part of the share that is planned: what the passes of plugins cost is not known before."""


@dataclass(frozen=True)
class Drawn:
    """A run from which parts are drawn.

    Attributes:
        method: Its benchmark and method.
        commitment: A hash of all that it commits to, so that the draw follows from it too.
        cost: What its parts cost.
    """

    method: str
    commitment: str
    cost: RunCost


@dataclass(frozen=True)
class Wish:
    """How much is drawn.

    Attributes:
        share: Share of the cost of all runs that is spent if the least that is drawn costs less.
        seed: Seed of the draw.
        images: Least number of test images of each evaluation.
        steps: Number of steps at the beginning of a task.
    """

    share: float
    seed: int
    images: int
    steps: int


@dataclass(frozen=True)
class Sample:
    """What is drawn, by the position of the run.

    Attributes:
        tasks: Tasks that are learned as a whole, from 0.
        starts: Tasks of which the first steps are learned, from 0.
        images: Test images of each evaluation, ``(run, row)``: positions among those that it covers.
    """

    tasks: list[tuple[int, int]]
    starts: list[tuple[int, int]]
    images: dict[tuple[int, int], NDArray[np.int64]]


def draw(runs: Sequence[Drawn], wish: Wish) -> Sample:
    """Draw at least one task of each method, the beginning of a task of each run, and images of each evaluation.

    What is left of the share goes to more images first, then to more tasks.
    """
    random = stable_random(wish.seed, "audit", *sorted(run.commitment for run in runs))
    order = _order(runs, random)
    methods = dict.fromkeys(run.method for run in runs)
    tasks = [next(one for one in order if runs[one[0]].method == method) for method in methods]
    starts = [one for run in range(len(runs)) if (one := _start(run, runs[run].cost, tasks, random)) is not None]
    left = PLANNED * wish.share * sum(run.cost.whole for run in runs)
    left -= sum(runs[run].cost.tasks[task] for run, task in tasks)
    left -= sum(_of_start(runs[run].cost, task, wish.steps) for run, task in starts)
    rows = [(run, row) for run in range(len(runs)) for row in range(len(runs[run].cost.sizes))]
    rows = [(run, row) for run, row in rows if (run, row - 1) not in tasks]
    sizes = {one: runs[one[0]].cost.sizes[one[1]] for one in rows}
    number = _number(list(sizes.values()), wish.images, left * IMAGES_TO_A_GRADIENT)
    left -= sum(min(size, number) for size in sizes.values()) / IMAGES_TO_A_GRADIENT
    images = {one: np.sort(random.permutation(size)[:number]).astype(np.int64) for one, size in sizes.items()}
    for run, task in order:
        if (run, task) not in tasks and runs[run].cost.tasks[task] <= left:
            tasks.append((run, task))
            left -= runs[run].cost.tasks[task]
    return Sample(tasks, starts, images)


def _order(runs: Sequence[Drawn], random: np.random.RandomState) -> list[tuple[int, int]]:
    """All tasks in a random order, in which each run comes once before any comes again."""
    own = [random.permutation(len(run.cost.tasks)).tolist() for run in runs]
    rounds = range(max(map(len, own)))
    return [
        (run, own[run][number])
        for number in rounds
        for run in random.permutation(len(runs)).tolist()
        if number < len(own[run])
    ]


def _start(
    run: int, cost: RunCost, tasks: Sequence[tuple[int, int]], random: np.random.RandomState
) -> tuple[int, int] | None:
    """A task of a run whose first steps are learned; None if a whole one is drawn already, or none takes steps.

    It is one after the first, if there are any: many methods do the same as others in their first task.
    """
    taking = [task for task, steps in enumerate(cost.steps) if steps]
    taking = [task for task in taking if task] or taking
    chosen = taking[random.randint(len(taking))] if taking else 0
    return (run, chosen) if taking and not any(other == run for other, _ in tasks) else None


def _of_start(cost: RunCost, task: int, steps: int) -> float:
    return cost.samples[task] * min(1.0, steps / cost.steps[task])


def _number(sizes: Sequence[int], least: int, affordable: float) -> int:
    """The largest number of images of each evaluation that is affordable, and at least the least."""
    low, high = least, max([least, *sizes])
    while low < high:
        middle = (low + high + 1) // 2
        fits = sum(min(size, middle) for size in sizes) <= affordable
        low, high = (middle, high) if fits else (low, middle - 1)
    return low
