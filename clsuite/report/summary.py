"""From records to rows: one row per method, its metrics over the seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clsuite.metrics import METRICS, PRIMARY, WITHIN_TASK, compute_all, mean_interval
from clsuite.metrics.variants import intransigence
from clsuite.records import ProbeEntry, RunRecord
from clsuite.report.descriptions import (
    DESCRIPTIONS,
    FORMULAS,
    INTRANSIGENCE,
    TASK_AWARE,
    Description,
    change_meaning,
    probe_meaning,
    probe_meanings,
)
from clsuite.report.format import kind_of

PROBE, CHANGE = "probe_", "_change"
EXPOSED = "area_under_exposed_accuracy"
"""The figure within tasks that streams which pass once have alone."""


@dataclass(frozen=True)
class Column:
    """A figure of a row.

    Attributes:
        label: Heading.
        higher_is_better: Direction; None where neither way is better, or where the figures cannot be compared.
        share: Whether it is shown in per cent.
        cost: Whether it is a count or a time, which is shown without its interval.
        about: What it is, in plain words.
        formula: In the notation of `clsuite.metrics.variants`; empty where it has none.
        source: Whose formula it is.
    """

    label: str
    higher_is_better: bool | None
    share: bool = True
    cost: bool = False
    about: str = ""
    formula: str = ""
    source: str = ""


@dataclass(frozen=True)
class Row:
    """One method over its seeds.

    Attributes:
        method: Its name.
        seeds: The seeds, ascending.
        values: For each figure the value of every seed.
        one_kind: Whether all its runs are of one kind of machine and precision; else its times have no mean.
        is_bound: Whether it keeps all data, as joint training does: an upper bound, and no method to be the best.
    """

    method: str
    seeds: tuple[int, ...]
    values: dict[str, tuple[float, ...]]
    one_kind: bool = True
    is_bound: bool = False

    def interval(self, name: str) -> tuple[float, float]:
        """Mean and half-width of the 95 % interval over the seeds that have the figure (`nan` where there is one).

        A time has neither (`nan`) where the seeds ran on several kinds of machine or in several precisions.
        """
        if name in TIMES and not self.one_kind:
            return math.nan, math.nan
        defined = [value for value in self.values.get(name, ()) if not math.isnan(value)]
        return mean_interval(defined or [float("nan")])


def _explained(name: str, column: Column) -> Column:
    metric = METRICS.get(name) or WITHIN_TASK.get(name)
    formula, source = (metric.formula, metric.source) if metric else FORMULAS.get(name, ("", ""))
    return replace(column, about=DESCRIPTIONS[name], formula=formula, source=source)


_PLAIN: dict[str, Column] = {
    **{name: Column(metric.label, metric.higher_is_better) for name, metric in METRICS.items()},
    TASK_AWARE: Column("task-aware acc.", True),
    INTRANSIGENCE: Column("intransigence", False),
    "trainable_parameters": Column("trained", False, cost=True),
    "stored_bytes": Column("stored", False, cost=True),
    "gradient_samples": Column("gradient samples", False, cost=True),
    "train_seconds": Column("training s", False, cost=True),
    "eval_seconds": Column("evaluation s", False, cost=True),
}
COLUMNS: dict[str, Column] = {name: _explained(name, column) for name, column in _PLAIN.items()}
WITHIN: dict[str, Column] = {
    m.name: _explained(m.name, Column(m.label, m.higher_is_better, m.share)) for m in WITHIN_TASK.values()
}
TIMES = ("train_seconds", "eval_seconds")


def columns_of(records: Sequence[RunRecord]) -> dict[str, Column]:
    """The figures of some records: those that all have, those of the probes (last reading, change) and within tasks.

    Times have no direction where the records are of several kinds of machine or precision: none of them is the best.
    Nor have changes of probes, which order rows as the readings do. The words on intransigence name its bound.
    """
    probes = _read_probes(records)
    columns = dict(COLUMNS)
    if len({kind_of(record.environment) for record in records}) > 1:
        columns |= {name: replace(columns[name], higher_is_better=None) for name in TIMES}
    if bounds := sorted({record.method for record in _bounds(records).values()}):
        about = f"{columns[INTRANSIGENCE].about} Joint training is '{' or '.join(bounds)}' here."
        columns[INTRANSIGENCE] = replace(columns[INTRANSIGENCE], about=about)
    known = {name: meaning for record in records for name, meaning in probe_meanings(record.config).items()}
    for name, probe in sorted(probes.items()):
        meaning, share = probe_meaning(name, known), probe.correct is not None
        columns[f"{PROBE}{name}"] = _probed(meaning, probe.higher_is_better, share)
        if meaning.changes:
            columns[f"{PROBE}{name}{CHANGE}"] = _probed(change_meaning(meaning), None, share)
    return columns | _within(records)


def _read_probes(records: Sequence[RunRecord]) -> dict[str, ProbeEntry]:
    """Of each probe an entry that tells what it reads: one with a reading, where any record has one."""
    probes: dict[str, ProbeEntry] = {}
    for probe in (probe for record in records for probe in record.probes):
        if probe.name not in probes or probe.was_read:
            probes[probe.name] = probe
    return probes


def _within(records: Sequence[RunRecord]) -> dict[str, Column]:
    """The figures within tasks that the records have: that of the exposed classes where it was measured."""
    curves = [record.main_curves for record in records if record.within_task]
    exposed = any(one is not None and one.exposed is not None for one in curves)
    return {name: column for name, column in WITHIN.items() if curves and (exposed or name != EXPOSED)}


def _probed(meaning: Description, higher_is_better: bool | None, share: bool) -> Column:
    return Column(
        meaning.label, higher_is_better, share, about=meaning.about, formula=meaning.formula, source=meaning.source
    )


def summarize(records: Sequence[RunRecord]) -> list[Row]:
    """One row per method, best final accuracy first.

    Args:
        records: Finished records of one benchmark. Where a run that keeps all data is among them (joint training), it
            is the upper bound that the intransigence of its seed is measured against; of several, the one with the
            fewest plugins. A seed without one has no intransigence, and the mean is over those that have it.
    """
    bounds = _bounds(records)
    by_method: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        by_method.setdefault(record.method, []).append(record)
    rows = [_row(method, group, bounds) for method, group in by_method.items()]
    return sorted(rows, key=lambda row: (-row.interval(PRIMARY)[0], row.method))


def _bounds(records: Sequence[RunRecord]) -> dict[int, RunRecord]:
    """Of each seed the run that intransigence is measured against: of those that keep all data the plainest."""
    plainest_last = sorted(records, key=lambda record: (len(record.plugins), record.method), reverse=True)
    return {record.seed: record for record in plainest_last if _keeps_all_data(record)}


def _keeps_all_data(record: RunRecord) -> bool:
    return record.cost is not None and "all data" in record.cost.stored_bytes


def _row(method: str, records: list[RunRecord], bounds: dict[int, RunRecord]) -> Row:
    figures = [_figures(record, bounds.get(record.seed)) for record in records]
    names = {name: None for figure in figures for name in figure}
    values = {name: tuple(figure.get(name, float("nan")) for figure in figures) for name in names}
    one_kind = len({kind_of(record.environment) for record in records}) == 1
    is_bound = all(_keeps_all_data(record) for record in records)
    return Row(method, tuple(record.seed for record in records), values, one_kind, is_bound)


def _figures(record: RunRecord, bound: RunRecord | None) -> dict[str, float]:
    assert record.counts is not None
    assert record.cost is not None
    counts = record.main_counts
    figures = compute_all(counts)
    figures[TASK_AWARE] = METRICS[PRIMARY].compute(record.counts.of("task_aware"))
    comparable = (
        bound is not None
        and bound.counts is not None
        and (bound.counts.n, bound.counts.learned) == (record.counts.n, record.counts.learned)
    )
    figures[INTRANSIGENCE] = (
        intransigence(counts, bound.main_counts)
        if comparable and bound is not None and bound.counts is not None
        else float("nan")
    )
    figures["trainable_parameters"] = record.cost.trainable_parameters
    figures["stored_bytes"] = sum(record.cost.stored_bytes.values())
    figures["gradient_samples"] = sum(task.gradient_samples for task in record.tasks)
    figures["train_seconds"] = record.training_seconds
    figures["eval_seconds"] = record.evaluation_seconds
    for probe in record.probes:
        before, now = (math.nan if value is None else value for value in (probe.values[0], probe.values[-1]))
        figures[f"{PROBE}{probe.name}"] = now
        figures[f"{PROBE}{probe.name}{CHANGE}"] = now - before
    curves = record.main_curves
    if curves is not None:
        figures |= {name: metric.compute(curves) for name, metric in WITHIN_TASK.items()}
    return figures
