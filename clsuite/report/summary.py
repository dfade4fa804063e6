"""From records to a table of results: one row per method, its figures over the seeds.

Terminal, CSV, Markdown, LaTeX, and the leaderboard with its page all render this one table.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict

from clsuite.metrics import (
    COLUMNS,
    EXPOSED,
    INTRANSIGENCE,
    METRICS,
    PRIMARY,
    TASK_AWARE,
    WITHIN_TASK,
    Column,
    compute_all,
    mean_interval,
)
from clsuite.metrics.variants import intransigence
from clsuite.records import RunRecord
from clsuite.report.format import kind_of, rounded
from clsuite.report.probe_columns import CHANGE, PROBE, probe_columns


class Figure(BaseModel):
    """A column of a row, over its seeds; None is what is not defined.

    Attributes:
        mean: Mean over the seeds that have the figure; for times none where the runs are of several kinds of machine
            or precision.
        half: Half-width of the 95 % Student-t interval over them; None for fewer than two.
        low: Lower end of the interval, never below zero for costs.
        high: Upper end.
        values: One value per seed, in the order of the row's seeds.
        best: Whether no method of the table has a better mean, and another one has a worse one. An upper bound, as
            joint training is one, is not a method in this.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float | None
    half: float | None
    low: float | None
    high: float | None
    values: tuple[float | None, ...]
    best: bool = False

    @property
    def shortened(self) -> Figure:
        """The same to nine digits, which are alike on every machine."""
        ends = {name: rounded(getattr(self, name)) for name in ("mean", "half", "low", "high")}
        return self.model_copy(update={**ends, "values": tuple(rounded(value) for value in self.values)})


class Row(BaseModel):
    """A method over its seeds, ascending, with a figure for each column of its table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    seeds: tuple[int, ...]
    figures: dict[str, Figure]


@dataclass(frozen=True)
class ResultTable:
    """The results of one benchmark.

    Attributes:
        columns: By name, in order.
        rows: One per method, best final accuracy first.
    """

    columns: dict[str, Column]
    rows: list[Row]


def columns_of(records: Sequence[RunRecord]) -> dict[str, Column]:
    """The figures of some records: those that all have, those of the probes (last reading, change) and within tasks.

    Times have no direction where the records are of several kinds of machine or precision: none of them is the best.
    The words on intransigence name its bound.
    """
    columns = dict(COLUMNS)
    if len({kind_of(record.environment) for record in records}) > 1:
        times = (column for column in COLUMNS.values() if column.unit == "seconds")
        columns |= {column.name: replace(column, higher_is_better=None) for column in times}
    if bounds := sorted({record.method for record in _bounds(records).values()}):
        about = f"{columns[INTRANSIGENCE].about} Joint training is '{' or '.join(bounds)}' here."
        columns[INTRANSIGENCE] = replace(columns[INTRANSIGENCE], about=about)
    columns |= {column.name: column for column in probe_columns(records)}
    curves = [record.main_curves for record in records if record.within_task]
    exposed = any(one is not None and one.exposed is not None for one in curves)
    return columns | {name: one for name, one in WITHIN_TASK.items() if curves and (exposed or name != EXPOSED)}


def summarize(records: Sequence[RunRecord]) -> ResultTable:
    """The table of some records: one row per method, best final accuracy first.

    Args:
        records: Finished records of one benchmark. Where a run that keeps all data is among them (joint training), it
            is the upper bound that the intransigence of its seed is measured against; of several, the one with the
            fewest plugins. A seed without one has no intransigence, and the mean is over those that have it.
    """
    columns, bounds = columns_of(records), _bounds(records)
    by_method: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        by_method.setdefault(record.method, []).append(record)
    rows = [_row(method, group, columns.values(), bounds) for method, group in by_method.items()]
    rivals = [row for row in rows if not all(_keeps_all_data(record) for record in by_method[row.method])]
    best = {name: _best(rivals, column) for name, column in columns.items()}
    return ResultTable(columns, sorted((_marked(row, best) for row in rows), key=_order))


def _order(row: Row) -> tuple[float, str]:
    return -(row.figures[PRIMARY].mean or 0.0), row.method


def _best(rivals: Sequence[Row], column: Column) -> set[str]:
    """The methods with the best mean of a figure, several where they are level.

    None where neither way is better, and where no two methods have the figure or all are level.
    """
    means = {row.method: mean for row in rivals if (mean := rounded(row.figures[column.name].mean)) is not None}
    if column.higher_is_better is None or len({*means.values()}) < 2:
        return set()
    target = max(means.values()) if column.higher_is_better else min(means.values())
    return {method for method, mean in means.items() if mean == target}


def _marked(row: Row, best: dict[str, set[str]]) -> Row:
    """The row, with its figures that are the best of their column marked."""
    marked = {name: one.model_copy(update={"best": row.method in best[name]}) for name, one in row.figures.items()}
    return row.model_copy(update={"figures": marked})


def _bounds(records: Sequence[RunRecord]) -> dict[int, RunRecord]:
    """Of each seed the run that intransigence is measured against: of those that keep all data the plainest."""
    plainest_last = sorted(records, key=lambda record: (len(record.plugins), record.method), reverse=True)
    return {record.seed: record for record in plainest_last if _keeps_all_data(record)}


def _keeps_all_data(record: RunRecord) -> bool:
    return record.cost is not None and "all data" in record.cost.stored_bytes


def _row(method: str, runs: Sequence[RunRecord], columns: Collection[Column], bounds: dict[int, RunRecord]) -> Row:
    values = [_values(record, bounds.get(record.seed)) for record in runs]
    one_kind = len({kind_of(record.environment) for record in runs}) == 1
    figures = {
        column.name: _figure(
            [one.get(column.name, math.nan) for one in values], column.is_cost, one_kind or column.unit != "seconds"
        )
        for column in columns
    }
    return Row(method=method, seeds=tuple(record.seed for record in runs), figures=figures)


def _figure(values: Sequence[float], is_cost: bool, has_mean: bool) -> Figure:
    defined = [value for value in values if not math.isnan(value)]
    mean, half = mean_interval(defined) if defined and has_mean else (math.nan, math.nan)
    low = 0.0 if is_cost and mean < half else mean - half
    ends = {"mean": mean, "half": half, "low": low, "high": mean + half}
    known = {name: None if math.isnan(value) else value for name, value in ends.items()}
    return Figure(**known, values=tuple(None if math.isnan(value) else value for value in values))


def _values(record: RunRecord, bound: RunRecord | None) -> dict[str, float]:
    assert record.counts is not None
    assert record.cost is not None
    counts = record.main_counts
    values = compute_all(counts)
    values[TASK_AWARE] = METRICS[PRIMARY].compute(record.counts.of("task_aware"))
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
