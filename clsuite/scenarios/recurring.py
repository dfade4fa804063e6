"""Streams in which tasks recur by a power law: as a whole, or as shares of later tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from clsuite.data.stable_random import stable_random
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Named, Source, assemble, evaluation_parts
from clsuite.scenarios.by_class import group_classes
from clsuite.scenarios.by_domain import whole_domains
from clsuite.scenarios.scenario import EvalSplit, Rows, Scenario
from clsuite.scenarios.spec import DomainIncremental, PowerLaw, Recurring


class Distinct(NamedTuple):
    """The distinct tasks.

    Attributes:
        order: Indices into the table's classes, in the order of the stream.
        named: Name and rows of each task.
    """

    order: NDArray[np.int64]
    named: list[Named]


def build_recurring(source: Source, spec: Recurring) -> Scenario:
    """An instance-recurring stream: a recurring task is a task of its own, with the same images again.

    The law of recurrence is that of human environments, where the probability that something occurs decays as a power
    of the time since it last occurred (Anderson & Schooler, "Reflections of the environment in memory", Psychological
    Science 1991). Two papers study streams with repetition, and this stream is different from both:

    - Hemati et al., "Class-incremental learning with repetition" (CoLLAs 2023), section 3: classes and instances recur
      as here, but single classes with individual probabilities, and not fixed groups of classes.
    - Gandhi et al., "Natural mitigation of catastrophic interference: continual learning in power-law learning
      environments" (2024): each task includes shares of all earlier ones; see `build_power_law`.

    The evaluation parts are the distinct tasks, each learned at its first visit. Methods treat later visits
    differently: those that train do so again at each visit, while joint, replay, and statistics such as those of lda
    and ranpac count an image once.

    Raises:
        UserError: If the stream is too short to contain all tasks.
    """
    distinct = _distinct(source, spec)
    named = distinct.named
    if spec.length < len(named):
        raise UserError(f"scenario.length is {spec.length}, but {len(named)} tasks must occur in it")
    visits = power_law_visits(len(named), spec.length, spec.exponent, source.order_seed)
    scenario = assemble(spec.kind, source.table, distinct.order, [named[group] for group in visits])
    return replace(
        scenario, separate_splits=_parts(scenario, named, [visits.index(group) for group in range(len(named))])
    )


def build_power_law(source: Source, spec: PowerLaw) -> Scenario:
    """A power-law environment: each task has its own images and shares of those of all earlier tasks.

    After Gandhi et al., "Natural mitigation of catastrophic interference: continual learning in power-law learning
    environments" (arXiv 2401.10393, 2024; its first version, "Catastrophic interference is mitigated in naturalistic
    power-law learning environments", has permuted MNIST, which is ``over: domains`` here): the share of a task decays
    as a power of the time since it was new. Differences: the law counts the age in tasks (``1 + k``, so that the new
    task itself is complete), each earlier task's images are drawn again in each task, without replacement, and exponent
    and amount are arguments. The fitted constants and amounts of the paper are not reproduced; ``replayed`` fixes the
    number of rehearsed images, as is needed for comparisons at equal rehearsal.

    Rehearsal is part of the environment here and not of the method, which stores nothing. The evaluation parts are the
    distinct tasks. `build_recurring` describes how methods treat recurring images.
    """
    distinct = _distinct(source, spec)
    random = stable_random(source.order_seed, "power law")
    tasks = []
    for task, (name, parts) in enumerate(distinct.named):
        sizes = [len(earlier.train) for _, earlier in distinct.named[:task]]
        numbers = power_law_shares(sizes, len(parts.train), spec.exponent, spec.replayed)
        again = [
            _draw(earlier.train, number, random) for (_, earlier), number in zip(distinct.named, numbers, strict=False)
        ]
        tasks.append((name, parts._replace(train=np.sort(np.concatenate([parts.train, *again])))))
    scenario = assemble(spec.kind, source.table, distinct.order, tasks)
    return replace(scenario, separate_splits=_parts(scenario, distinct.named, range(len(tasks))))


def power_law_visits(groups: int, length: int, exponent: float, seed: int) -> list[int]:
    """The task that is visited at each step of the stream.

    Task ``k`` is visited for the first time at step ``floor(k * length / groups)``. At every other step ``t`` one of
    the tasks that have been visited is drawn: task ``g``, last visited at step ``s_g``, with a probability proportional
    to ``(t - s_g)^-exponent``.

    Args:
        groups: Number of distinct tasks.
        length: Number of steps, at least `groups`.
        exponent: With 0 all visited tasks have equal probability.
        seed: Seed of the draws.
    """
    random = stable_random(seed, "visits")
    first = {group * length // groups: group for group in range(groups)}
    last = np.zeros(groups)
    visits: list[int] = []
    for step in range(length):
        if step in first:
            chosen = first[step]
        else:
            seen = len(set(visits))
            weights = (step - last[:seen]) ** -exponent
            chosen = int(random.choice(seen, p=weights / weights.sum()))
        last[chosen] = step
        visits.append(chosen)
    return visits


def power_law_shares(sizes: Sequence[int], new: int, exponent: float, replayed: float | None) -> list[int]:
    """The number of images of each earlier task that are part of a new task.

    With ``k = len(sizes) - g`` the age of task ``g`` (1: the previous one): ``n_g (1 + k)^-exponent``, or, of
    ``replayed * new`` images in total, the share ``k^-exponent / sum_k k^-exponent``; rounded, and never more than the
    task has.

    Args:
        sizes: Numbers of images ``n_g`` of the earlier tasks, the oldest first.
        new: Number of images of the new task.
        exponent: With 0 the number does not depend on the age.
        replayed: Number of images of all earlier tasks together, as a share of `new`; None uses a share of each task.
    """
    ages, have = np.arange(len(sizes), 0, -1, dtype=np.float64), np.array(sizes, dtype=np.float64)
    if replayed is None:
        wanted = have * (1 + ages) ** -exponent
    else:
        weights = ages**-exponent
        wanted = replayed * new * weights / max(float(weights.sum()), 1e-300)
    return [int(number) for number in np.minimum(np.floor(wanted + 0.5), have)]


def _draw(rows: Rows, number: int, random: RandomState) -> Rows:
    return random.permutation(rows)[:number]


def _distinct(source: Source, spec: Recurring | PowerLaw) -> Distinct:
    """The distinct tasks, each once."""
    if spec.over == "domains":
        assert not isinstance(spec.tasks, tuple)
        domains = DomainIncremental(tasks=spec.tasks, order=spec.order)
        return Distinct(np.arange(len(source.table.classes)), whole_domains(source, domains))
    groups = group_classes(source, spec)
    return Distinct(groups.order, groups.named_parts(source.table, source.parts()))


def _parts(scenario: Scenario, named: Sequence[Named], first: Sequence[int]) -> tuple[EvalSplit, ...]:
    """The distinct tasks as evaluation parts, each learned at its first visit, when all classes of a domain are known.

    Args:
        scenario: The stream.
        named: The distinct tasks.
        first: The index of the first visit of each.
    """
    parts = evaluation_parts(scenario, [(name, parts.test) for name, parts in named])
    return tuple(replace(part, learned=learned) for part, learned in zip(parts, first, strict=True))
