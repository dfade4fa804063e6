"""Builds the stream of a specification over a table."""

from __future__ import annotations

from dataclasses import replace

from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios.assemble import Source
from clsuite.scenarios.blurry import build_blurry
from clsuite.scenarios.by_class import build_by_class, class_sizes
from clsuite.scenarios.by_domain import build_by_domain, build_cross_domain
from clsuite.scenarios.long_tail import build_long_tailed
from clsuite.scenarios.recurring import build_power_law, build_recurring
from clsuite.scenarios.scenario import Scenario
from clsuite.scenarios.spec import (
    AnySpec,
    Blurry,
    ClassIncremental,
    CrossDomain,
    DomainIncremental,
    FromAvalanche,
    LongTailed,
    Online,
    OwnScenario,
    PowerLaw,
    Recurring,
    ScenarioSpec,
    TaskIncremental,
)

__all__ = ["build_scenario", "class_sizes"]


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
    match chosen:
        case DomainIncremental():
            return build_by_domain(source, chosen)
        case CrossDomain():
            return build_cross_domain(source, chosen)
        case Blurry():
            return build_blurry(source, chosen)
        case Recurring():
            return build_recurring(source, chosen)
        case PowerLaw():
            return build_power_law(source, chosen)
        case LongTailed():
            return build_long_tailed(source, chosen)
        case Online():
            return replace(build_by_class(chosen.kind, source, chosen), batch_repeats=chosen.repeats)
        case ClassIncremental() | TaskIncremental():
            return build_by_class(chosen.kind, source, chosen)
