"""Streams in which tasks come back, after a power law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from clsuite.data.stable_random import stable_random
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Source, assemble, evaluation_parts
from clsuite.scenarios.by_class import group_classes
from clsuite.scenarios.scenario import Scenario
from clsuite.scenarios.spec import Recurring


def build_recurring(source: Source, spec: Recurring) -> Scenario:
    """An instance-recurring stream: a task that comes back brings the same images again.

    Repetition of classes and instances as in Hemati et al., "Class-incremental learning with repetition" (CoLLAs 2023),
    section 3; the law of the return as in the environments of human memory, where the chance that something occurs
    falls as a power of the time since it last did (Anderson & Schooler, "Reflections of the environment in memory",
    Psychological Science 1991). Evaluation parts are the distinct tasks, each learned at its first visit.

    Raises:
        UserError: If the stream is too short for all tasks to be seen.
    """
    groups = group_classes(source, spec)
    if spec.length < len(groups.sizes):
        raise UserError(f"scenario.length is {spec.length}, but {len(groups.sizes)} tasks have to be seen in it")
    named = groups.named_parts(source.table, source.parts())
    visits = power_law_visits(len(named), spec.length, spec.exponent, source.order_seed)
    scenario = assemble(spec.kind, source.table, groups.order, [named[group] for group in visits])
    return replace(scenario, columns=evaluation_parts(scenario, [(name, parts.test) for name, parts in named]))


def power_law_visits(groups: int, length: int, exponent: float, seed: int) -> list[int]:
    """Which task each step of the stream visits.

    Task ``k`` is visited for the first time at step ``floor(k * length / groups)``. At every other step ``t`` a task
    ``g`` that has been visited, last at step ``s_g``, comes with probability ``(t - s_g)^-exponent`` over the sum of
    these.

    Args:
        groups: Number of distinct tasks.
        length: Number of steps, at least `groups`.
        exponent: 0 visits all seen tasks alike.
        seed: Of the draws.
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
