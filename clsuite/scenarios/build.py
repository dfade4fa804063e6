"""Builds the stream of a specification over a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Source
from clsuite.scenarios.blurry import build_blurry
from clsuite.scenarios.by_class import build_by_class, class_sizes
from clsuite.scenarios.by_domain import build_by_domain, build_cross_domain
from clsuite.scenarios.few_shot import build_few_shot
from clsuite.scenarios.long_tail import build_long_tailed
from clsuite.scenarios.recurring import build_power_law, build_recurring
from clsuite.scenarios.scenario import Scenario
from clsuite.scenarios.spec import (
    AnySpec,
    ClassIncremental,
    FromAvalanche,
    Online,
    OwnScenario,
    ScenarioSpec,
    TaskIncremental,
)

__all__ = ["build_scenario", "class_sizes"]


def _by_class(source: Source, spec: ClassIncremental | TaskIncremental) -> Scenario:
    return build_by_class(spec.kind, source, spec)


def _online(source: Source, spec: Online) -> Scenario:
    return replace(build_by_class(spec.kind, source, spec), batch_repeats=spec.repeats)


_BUILDERS: dict[str, Callable[[Source, Any], Scenario]] = {
    "class_incremental": _by_class,
    "task_incremental": _by_class,
    "domain_incremental": build_by_domain,
    "cross_domain": build_cross_domain,
    "recurring": build_recurring,
    "power_law": build_power_law,
    "long_tailed": build_long_tailed,
    "few_shot": build_few_shot,
    "blurry": build_blurry,
    "online": _online,
}


def build_scenario(
    table: ImageTable, spec: ScenarioSpec | AnySpec, seed: int, train_per_class: int | None = None
) -> Scenario:
    """Build the stream.

    Args:
        table: The images.
        spec: Kind and parameters.
        seed: Determines the order of classes or domains and the validation parts; test parts are those of the data set.
        train_per_class: Largest number of training images of each class and domain.

    Raises:
        UserError: If the data set does not allow such a stream.
    """
    chosen = spec.root if isinstance(spec, ScenarioSpec) else spec
    if isinstance(chosen, FromAvalanche | OwnScenario):
        brings = "an avalanche scenario brings its own images: use clsuite.scenarios.from_avalanche(benchmark)"
        own = "a user-defined stream is made by its class: call build(table, seed) of it"
        raise UserError(brings if isinstance(chosen, FromAvalanche) else own)
    source = Source.of(table, seed, chosen.order_seed, chosen.validation, train_per_class)
    return _BUILDERS[chosen.kind](source, chosen)
