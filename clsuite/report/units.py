"""The independent units of statistics: the seeds of a method, or its orders if it ran in several.

Runs of one order with several seeds are not independent looks at what orders do. Their mean is the value of the order,
and mean, interval and tests are over orders, each with the same weight (the analysis of cluster means; Donner & Klar,
"Design and Analysis of Cluster Randomization Trials", 2000, chapter 6). The noise of seeds is a part of what orders
differ by, so that the interval has it too, divided by the number of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict

from clsuite.metrics import METRICS, PRIMARY, mean_interval
from clsuite.records import RecordError, RunRecord, read_record
from clsuite.records.order import StreamOrder, order_of


class Spread(BaseModel):
    """What a quantity is over orders, each with its mean over seeds.

    Attributes:
        minimum: Over all orders, also those that were chosen.
        median: Over the orders that were drawn at random (over all, if none was).
        maximum: Over all orders.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True)
class Units:
    """The units of some runs of one method.

    Attributes:
        orders: The orders, drawn ones first; empty if there are fewer than two, or a run has none of its own, so that
            each run is a unit.
        places: The place of each run's order in `orders`.
    """

    orders: tuple[StreamOrder, ...]
    places: tuple[int, ...]

    @classmethod
    def of(cls, runs: Sequence[RunRecord]) -> Units:
        """The units of the runs of a method."""
        found = [order_of(run) for run in runs]
        orders = sorted({order for order in found if order is not None}, key=_rank)
        places = tuple(orders.index(order) for order in found if order is not None)
        return cls(tuple(orders), places) if len(orders) > 1 and len(places) == len(runs) else cls((), ())

    def means(self, values: Sequence[float]) -> list[float]:
        """The value of each unit: the mean over its runs that have one, ``nan`` if none has.

        Args:
            values: One value per run, in the order in which the runs were given.
        """
        if not self.orders:
            return list(values)
        groups: list[list[float]] = [[] for _ in self.orders]
        for place, value in zip(self.places, values, strict=True):
            if not math.isnan(value):
                groups[place].append(value)
        return [sum(group) / len(group) if group else math.nan for group in groups]

    def sampled(self, means: Sequence[float]) -> list[float]:
        """The values of units that a mean is over: those of drawn orders, or all if no order was drawn."""
        if not self.has_drawn:
            return list(means)
        return [mean for order, mean in zip(self.orders, means, strict=True) if order.drawn]

    @property
    def has_drawn(self) -> bool:
        """Whether an order was drawn at random."""
        return any(order.drawn for order in self.orders)

    @property
    def is_sample(self) -> bool:
        """Whether the units were drawn at random, so that an interval says something of others."""
        return not self.orders or sum(order.drawn for order in self.orders) > 1

    def interval(self, values: Sequence[float]) -> tuple[float, float]:
        """Mean and half-width of its 95 % interval over the units that have a value; ``nan`` where there is none."""
        defined = [mean for mean in self.sampled(self.means(values)) if not math.isnan(mean)]
        if not defined:
            return math.nan, math.nan
        mean, half = mean_interval(defined)
        return mean, half if self.is_sample else math.nan

    def spread(self, values: Sequence[float]) -> Spread | None:
        """Minimum, median and maximum over orders; None without several orders, or without values."""
        means = self.means(values) if self.orders else []
        defined = [mean for mean in means if not math.isnan(mean)]
        sampled = [mean for mean in self.sampled(means) if not math.isnan(mean)] if defined else []
        if not defined:
            return None
        return Spread(minimum=min(defined), median=median(sampled or defined), maximum=max(defined))


def _rank(order: StreamOrder) -> tuple[bool, int, str]:
    """A sort key: drawn orders first, by their seeds."""
    return not order.drawn, int(order.name) if order.name.isdecimal() else -1, order.name


def final_spread(paths: Sequence[Path]) -> str:
    """Minimum, median and maximum of a method's final accuracy over orders, in percent; empty for a single order.

    Args:
        paths: Its finished records; those that cannot be read are left out.
    """
    records = []
    for path in paths:
        with suppress(RecordError):
            records.append(read_record(path))
    records = [record for record in records if record.status == "done"]
    over = Units.of(records).spread([METRICS[PRIMARY].compute(record.main_counts) for record in records])
    return " · ".join(f"{100 * value:.1f}" for value in (over.minimum, over.median, over.maximum)) if over else ""
