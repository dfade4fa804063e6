"""Orders apart from the seed of a run: the streams of ``--orders``."""

from __future__ import annotations

from collections.abc import Sequence

from clsuite.errors import UserError
from clsuite.runner.options import RunOptions
from clsuite.runner.spec import BenchmarkSpec
from clsuite.scenarios import ScenarioSpec

EXTREME = "extreme"
"""The value of ``--orders`` that searches for the worst and the best order."""


def drawn_order(spec: ScenarioSpec, number: int) -> ScenarioSpec:
    """A stream in an order that is drawn with a seed of its own, the same for every method and seed.

    Raises:
        UserError: If a file or class decides the order.
    """
    fields = type(spec.root).model_fields
    if "order_seed" not in fields:
        raise UserError(
            f"the order of this stream of kind '{spec.kind}' is decided by its own code, which --orders cannot change: "
            "let it follow the seed, and give --seeds"
        )
    changes = {"order_seed": number, **({"order": "seed"} if "order" in fields else {})}
    return ScenarioSpec(spec.root.model_copy(update=changes))


def listed_order(spec: ScenarioSpec, names: Sequence[str]) -> ScenarioSpec:
    """A stream in a given order of its classes."""
    return ScenarioSpec(spec.root.model_copy(update={"order": tuple(names)}))


def ordered_streams(spec: BenchmarkSpec, options: RunOptions) -> list[ScenarioSpec]:
    """The streams of a call: one for each order; those of a search are known only as it goes."""
    if not isinstance(options.orders, int):
        return [spec.scenario]
    return [drawn_order(spec.scenario, number) for number in range(options.orders)]


def seeds_of(spec: BenchmarkSpec, options: RunOptions) -> tuple[int, ...]:
    """The seeds of a call: those that it gives, or the benchmark's; of several orders, only the first of them."""
    seeds = options.seeds or (spec.seeds if options.orders is None else spec.seeds[:1])
    return tuple(dict.fromkeys(seeds))


def outlined(spec: BenchmarkSpec, options: RunOptions) -> list[str]:
    """Seed and order of each run of a method, in words."""
    orders = [f", order {number}" for number in range(options.orders)] if isinstance(options.orders, int) else [""]
    return [f"seed {seed}{order}" for seed in seeds_of(spec, options) for order in orders]
