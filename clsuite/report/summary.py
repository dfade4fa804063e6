"""Results as a table: one row per method, with values over the seeds, or over orders if there are several.

The terminal, CSV, Markdown, LaTeX, the leaderboard and its page all show this table.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from clsuite.metrics import (
    COLUMNS,
    EXPOSED,
    INTRANSIGENCE,
    METRICS,
    MTIL,
    OPEN_VOCABULARY,
    PRIMARY,
    TASK_AWARE,
    WITHIN_TASK,
    Column,
    compute_all,
    open_vocabulary_values,
)
from clsuite.metrics.variants import intransigence
from clsuite.records import RunRecord
from clsuite.records.order import order_name
from clsuite.report.format import kind_of, rounded
from clsuite.report.probe_columns import CHANGE, PROBE, probe_columns
from clsuite.report.units import Spread, Units

RankBy = Literal["mean", "worst"]


class Figure(BaseModel):
    """A cell of the table, over the seeds or orders (see `clsuite.report.units`); None stands for undefined values.

    Attributes:
        mean: Mean over the seeds that have a value; None for times if the runs used several kinds of machine or
            precision.
        half: Half-width of the 95 % Student-t interval; None for fewer than two seeds, or orders that were not drawn.
        low: Lower end of the interval, at least zero for costs.
        high: Upper end.
        values: One value per run, in the order of the row's seeds.
        spread: Minimum, median and maximum over orders; absent if there are fewer than two.
        best: Whether no method in the table has a better mean, and some method has a worse one. Upper bounds, such as
            joint training, are not compared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float | None
    half: float | None
    low: float | None
    high: float | None
    values: tuple[float | None, ...]
    spread: Spread | None = None
    best: bool = False

    @model_serializer(mode="wrap")
    def _without_spread(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what a cell of one order has not."""
        return {name: value for name, value in serialize(self).items() if name != "spread" or value is not None}

    @property
    def shortened(self) -> Figure:
        """The same cell, rounded to nine digits, which are the same on every machine."""
        ends = {name: rounded(getattr(self, name)) for name in ("mean", "half", "low", "high")}
        over = self.spread and Spread(**{name: rounded(value) for name, value in self.spread.model_dump().items()})
        values = tuple(rounded(value) for value in self.values)
        return self.model_copy(update={**ends, "values": values, "spread": over})


class Row(BaseModel):
    """A method over its runs (by seed, then order), with a cell for each column of its table.

    Attributes:
        seeds: The seed of each run.
        orders: The name of each run's order; absent if the runs have fewer than two orders of their own.
        chosen: The orders that were chosen, and not drawn at random, if others were; absent if there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    seeds: tuple[int, ...]
    orders: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    figures: dict[str, Figure]

    @model_serializer(mode="wrap")
    def _without_orders(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what a row of one order has not."""
        return {name: value for name, value in serialize(self).items() if name not in ("orders", "chosen") or value}

    def scores(self, column: str) -> dict[int | str, float]:
        """The values of a column that its mean is over, by seed, or by order if there are several."""
        values = self.figures[column].values
        known: dict[int | str, list[float]] = {}
        units: Sequence[int | str] = self.orders or self.seeds
        for unit, value in zip(units, values, strict=True):
            if value is not None and unit not in self.chosen:
                known.setdefault(unit, []).append(value)
        return {unit: sum(group) / len(group) for unit, group in known.items()}

    @property
    def worst(self) -> float:
        """The final accuracy in the worst order, or the mean if there is only one."""
        figure = self.figures[PRIMARY]
        return (figure.spread.minimum if figure.spread else figure.mean) or 0.0


@dataclass(frozen=True)
class ResultTable:
    """The results of one benchmark.

    Attributes:
        columns: The columns by name, in order.
        rows: One per method, best final accuracy first.
        judged_by: The columns by which papers judge this kind of stream, to show first; empty for the usual ones.
    """

    columns: dict[str, Column]
    rows: list[Row]
    judged_by: tuple[str, ...] = ()


def columns_of(records: Sequence[RunRecord]) -> dict[str, Column]:
    """The columns for some records: those that all records have, those of probes (last value, change) and within tasks.

    Times have no direction if the records are from several kinds of machine or precision, so that none is the best. The
    description of intransigence names its upper bound.
    """
    columns = dict(COLUMNS)
    if len({kind_of(record.environment) for record in records}) > 1:
        times = (column for column in COLUMNS.values() if column.unit == "seconds")
        columns |= {column.name: replace(column, higher_is_better=None) for column in times}
    if bounds := sorted({record.method for record in _bounds(records).values()}):
        about = f"{columns[INTRANSIGENCE].about} Joint training is '{' or '.join(bounds)}' here."
        columns[INTRANSIGENCE] = replace(columns[INTRANSIGENCE], about=about)
    if any(_has_names(record) for record in records):
        columns |= OPEN_VOCABULARY
    columns |= {column.name: column for column in probe_columns(records)}
    curves = [record.main_curves for record in records if record.within_task]
    exposed = any(item is not None and item.exposed is not None for item in curves)
    return columns | {name: item for name, item in WITHIN_TASK.items() if curves and (exposed or name != EXPOSED)}


def summarize(records: Sequence[RunRecord], rank_by: RankBy = "mean") -> ResultTable:
    """Make the table of some records: one row per method, best final accuracy first.

    Args:
        records: Finished records of one benchmark. If there are runs of a method that stores all data (joint training),
            they are the upper bound for the intransigence of the same seed; of several such methods, the one with the
            fewest plugins. Seeds without such a run have no intransigence, and the mean is over the others.
        rank_by: Whether the best has the highest mean, or the highest value in its worst order.
    """
    columns, bounds = columns_of(records), _bounds(records)
    by_method: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=run_place):
        by_method.setdefault(record.method, []).append(record)
    rows = [_row(method, group, columns.values(), bounds) for method, group in by_method.items()]
    rivals = [row for row in rows if not all(_keeps_all_data(record) for record in by_method[row.method])]
    best = {name: _best(rivals, column) for name, column in columns.items()}
    ordered = sorted((_marked(row, best) for row in rows), key=lambda row: _order(row, rank_by))
    return ResultTable(columns, ordered, judged_by(records))


def judged_by(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """The columns by which papers judge sequences of data sets: Transfer, Avg and Last; empty for other streams.

    With the task known (MTIL), those over all names follow if there are some.
    """
    if any(record.scenario.kind != "cross_domain" for record in records):
        return ()
    names = any(_has_names(record) and record.protocol == "task_aware" for record in records)
    return (*MTIL, *(OPEN_VOCABULARY if names else ()))


def _has_names(record: RunRecord) -> bool:
    """Whether a record has counts over all names."""
    return record.counts is not None and record.counts.open_vocabulary is not None


def _order(row: Row, rank_by: RankBy) -> tuple[float, str]:
    return -(row.worst if rank_by == "worst" else row.figures[PRIMARY].mean or 0.0), row.method


def _best(rivals: Sequence[Row], column: Column) -> set[str]:
    """The methods with the best mean in a column; several if they are equal.

    Empty if the column has no direction, if fewer than two methods have a value, or if all are equal.
    """
    means = {row.method: mean for row in rivals if (mean := rounded(row.figures[column.name].mean)) is not None}
    if column.higher_is_better is None or len({*means.values()}) < 2:
        return set()
    target = max(means.values()) if column.higher_is_better else min(means.values())
    return {method for method, mean in means.items() if mean == target}


def _marked(row: Row, best: dict[str, set[str]]) -> Row:
    """The row with its best cells marked."""
    marked = {name: item.model_copy(update={"best": row.method in best[name]}) for name, item in row.figures.items()}
    return row.model_copy(update={"figures": marked})


def _bounds(records: Sequence[RunRecord]) -> dict[tuple[int, str], RunRecord]:
    """The upper bound of each seed and order for intransigence: of runs that store all data, that of fewest plugins."""
    plainest_last = sorted(records, key=lambda record: (len(record.plugins), record.method), reverse=True)
    return {run_place(record): record for record in plainest_last if _keeps_all_data(record)}


def run_place(record: RunRecord) -> tuple[int, str]:
    """The place of a run in its row: by seed, then by order."""
    return record.seed, order_name(record)


def _keeps_all_data(record: RunRecord) -> bool:
    return record.cost is not None and "all data" in record.cost.stored_bytes


def _row(
    method: str, runs: Sequence[RunRecord], columns: Collection[Column], bounds: dict[tuple[int, str], RunRecord]
) -> Row:
    values = [_values(record, bounds.get(run_place(record))) for record in runs]
    units = Units.of(runs)
    one_kind = len({kind_of(record.environment) for record in runs}) == 1
    figures = {
        column.name: _figure(
            [item.get(column.name, math.nan) for item in values],
            units,
            column.is_cost,
            one_kind or column.unit != "seconds",
        )
        for column in columns
    }
    return Row(
        method=method,
        seeds=tuple(record.seed for record in runs),
        orders=tuple(order_name(record) for record in runs) if units.orders else (),
        chosen=tuple(order.name for order in units.orders if not order.drawn) if units.has_drawn else (),
        figures=figures,
    )


def _figure(values: Sequence[float], units: Units, is_cost: bool, has_mean: bool) -> Figure:
    mean, half = units.interval(values) if has_mean else (math.nan, math.nan)
    low = 0.0 if is_cost and mean < half else mean - half
    ends = {"mean": mean, "half": half, "low": low, "high": mean + half}
    known = {name: None if math.isnan(value) else value for name, value in ends.items()}
    over = None if is_cost else units.spread(values)
    return Figure(**known, values=tuple(None if math.isnan(value) else value for value in values), spread=over)


def _values(record: RunRecord, bound: RunRecord | None) -> dict[str, float]:
    assert record.counts is not None
    assert record.cost is not None
    counts = record.main_counts
    values = compute_all(counts)
    values[TASK_AWARE] = METRICS[PRIMARY].compute(record.counts.of("task_aware"))
    if _has_names(record):
        values |= open_vocabulary_values(record.counts.of("open_vocabulary"))
    comparable = (
        bound is not None
        and bound.counts is not None
        and (bound.counts.n, bound.counts.learned) == (record.counts.n, record.counts.learned)
    )
    if comparable and bound is not None:
        values[INTRANSIGENCE] = intransigence(counts, bound.main_counts)
    values["trainable_parameters"] = record.cost.trainable_parameters
    values["stored_bytes"] = sum(record.cost.stored_bytes.values())
    values["gradient_samples"] = sum(task.gradient_samples for task in record.tasks)
    values["train_seconds"] = record.training_seconds
    values["eval_seconds"] = record.evaluation_seconds
    for probe in record.probes:
        before, now = (math.nan if value is None else value for value in (probe.values[0], probe.values[-1]))
        values[f"{PROBE}{probe.name}"] = now
        values[f"{PROBE}{probe.name}{CHANGE}"] = now - before
    curves = record.main_curves
    if curves is not None:
        values |= {name: metric.compute(curves) for name, metric in WITHIN_TASK.items()}
    return values
