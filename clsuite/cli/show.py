"""`clsuite show`: a record for people."""

from __future__ import annotations

import json
import math
from pathlib import Path

from rich.table import Table

from clsuite.cli.console import make_console
from clsuite.metrics import METRICS, WITHIN_TASK, compute_all
from clsuite.records import (
    CostEntry,
    CountsEntry,
    ProbeEntry,
    RunRecord,
    TuningEntry,
    WithinTaskEntry,
    read_record,
    why_untrue,
)
from clsuite.records.record import RESULTS_VERSION
from clsuite.report.table import bytes_text, short_number
from clsuite.report.text import shown


def print_record(path: Path) -> None:
    """Print a record.

    Raises:
        RecordError: If it cannot be read.
    """
    record = read_record(path)
    console = make_console()
    console.print(
        f"[bold]{shown(record.method)}[/bold] on {shown(record.benchmark)}, seed {record.seed}: {record.status}"
    )
    console.print(f"key {record.key}, {record.seconds:.1f} s")
    untrue = why_untrue(record, path)
    if told := f"this record {untrue}; its accuracies are not shown" if untrue else _told_by_the_key(record):
        console.print(f"[red]{shown(told)}[/red]", soft_wrap=True)
    for plugin in record.plugins:
        arguments = ", ".join(f"{name}={value!r}" for name, value in plugin.args.items())
        console.print(shown(f"plugin {plugin.name}({arguments}) from {plugin.distribution}"))
    if record.tuning is not None:
        console.print(_tuning(record.tuning), soft_wrap=True, markup=False)
    for section, content in {**record.config, "environment": record.environment}.items():
        console.print(shown(f"{section}: {json.dumps(content, sort_keys=True)}"), soft_wrap=True)
    if record.counts is not None and not untrue:
        console.print(_matrix(record, record.counts))
        console.print(_metrics(record.counts))
    if record.probes and not untrue:
        console.print(_probes(record.probes))
    if record.within_task is not None and not untrue:
        console.print(_within_task(record.within_task))
    if record.cost is not None:
        console.print(_cost(record.cost), highlight=False)
    if record.error:
        console.print(shown(record.error))


def _told_by_the_key(record: RunRecord) -> str:
    """What the key says of a record that this version would not make so; empty where it would."""
    version = record.results_version()
    if version != RESULTS_VERSION:
        made = f"results version {version}; this one has {RESULTS_VERSION}"
        return f"made by an older version of clsuite ({made}): run again, it may come out otherwise"
    return ""


def _tuning(tuning: TuningEntry) -> str:
    metric = METRICS[tuning.metric].label if tuning.metric in METRICS else tuning.metric
    held = f" ({tuning.validation:g} of the training images)" if tuning.validation else ""
    return (
        f"tuned by {tuning.sampler} on the validation parts{held} of the first {tuning.tasks} tasks of seed "
        f"{tuning.seed}, {metric}: {len(tuning.trials)} trials, "
        f"{short_number(tuning.gradient_samples)} gradient samples, {tuning.seconds:.0f} s, in {tuning.space}"
    )


def _cost(cost: CostEntry) -> str:
    stored = ", ".join(f"{kind} {bytes_text(size)}" for kind, size in cost.stored_bytes.items()) or "nothing"
    return (
        f"{short_number(cost.trainable_parameters)} of {short_number(cost.total_parameters)} parameters trained; "
        f"keeps {stored}; {short_number(cost.training_flops)}FLOP of training; "
        f"peak memory {bytes_text(cost.peak_memory_bytes)}"
    )


def _matrix(record: RunRecord, counts: CountsEntry) -> Table:
    protocol = record.scenario.protocol
    matrix = counts.of(protocol)
    title = f"{protocol.replace('_', '-')} accuracy in %: row, after learning; column, test part"
    table = Table(title=title)
    table.add_column("after")
    for position, name in enumerate(record.scenario.columns):
        table.add_column(f"{position + 1}: {shown(name)}", justify="right")
    table.add_row("nothing", *(f"{100 * value:.1f}" for value in matrix.initial))
    for position, row in enumerate(matrix.accuracy):
        table.add_row(f"task {position + 1}", *(f"{100 * value:.1f}" for value in row))
    return table


def _metrics(counts: CountsEntry) -> Table:
    table = Table(title="metrics in %")
    for heading in ("metric", "formula", "source"):
        table.add_column(heading)
    for heading in ("class-incremental", "task-aware"):
        table.add_column(heading, justify="right")
    values = [compute_all(counts.of("class_incremental")), compute_all(counts.of("task_aware"))]
    for name, metric in METRICS.items():
        cells = ["-" if math.isnan(value[name]) else f"{100 * value[name]:.2f}" for value in values]
        table.add_row(name, shown(metric.formula), metric.source, *cells)
    return table


def _probes(probes: list[ProbeEntry]) -> Table:
    table = Table(title="probes: accuracies in %; - where it was not read, or the method has no such reading")
    table.add_column("after")
    for probe in probes:
        table.add_column(f"{shown(probe.name)} {'↑' if probe.higher_is_better else '↓'}", justify="right")
    for row in range(max(len(probe.values) for probe in probes)):
        cells = [_reading(probe, row) for probe in probes]
        table.add_row(f"task {row}" if row else "nothing", *cells)
    return table


def _reading(probe: ProbeEntry, row: int) -> str:
    value = probe.values[row] if row < len(probe.values) else None
    if value is None:
        return "-"
    return f"{value:.4f}" if probe.correct is None else f"{100 * value:.1f}"


def _within_task(entry: WithinTaskEntry) -> Table:
    table = Table(title=f"within tasks, on {sum(entry.n)} test images; accuracies in %")
    for heading in ("metric", "formula", "source"):
        table.add_column(heading)
    for heading in ("class-incremental", "task-aware"):
        table.add_column(heading, justify="right")
    curves = [entry.of("class_incremental"), entry.of("task_aware")]
    for name, metric in WITHIN_TASK.items():
        values = [(100 if metric.share else 1) * metric.compute(curve) for curve in curves]
        cells = ["-" if math.isnan(value) else f"{value:.2f}" for value in values]
        table.add_row(name, shown(metric.formula), metric.source, *cells)
    return table
