"""`clsuite show`: prints a record."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from clsuite.cli.console import make_console, print_table
from clsuite.config.paths import files_below
from clsuite.errors import UserError, nearest
from clsuite.metrics import METRICS, WITHIN_TASK, Counts, Curves, compute_all
from clsuite.metrics.variants import accuracy_over_time_weighted
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
from clsuite.records.entries import Protocol
from clsuite.records.order import order_of
from clsuite.records.record import RESULTS_VERSION
from clsuite.regular_files import is_no_folder
from clsuite.report.fit import TableColumn
from clsuite.report.format import bytes_text, short_number, shown


def _order(record: RunRecord) -> str:
    """The order of a run that has one of its own."""
    order = order_of(record)
    return f", order {order.name} ({', '.join(record.scenario.classes)})" if order else ""


def print_record(path: Path) -> None:
    """Print a record.

    Raises:
        UserError: If it cannot be read; for a folder or a benchmark, it says what to name.
    """
    record = _read(path)
    console = make_console()
    console.print(
        f"[bold]{shown(record.method)}[/bold] on {shown(record.benchmark)}, seed {record.seed}{shown(_order(record))}: "
        f"{record.status}",
        markup=True,
    )
    console.print(f"key {record.key}, {record.seconds:.1f} s{_taken(record)}")
    untrue = why_untrue(record, path)
    if warning := f"this record {untrue}; its accuracies are not shown" if untrue else _version_warning(record):
        console.print(warning, style="red", soft_wrap=True)
    for plugin in record.plugins:
        arguments = ", ".join(f"{name}={value!r}" for name, value in plugin.args.items())
        console.print(f"plugin {plugin.name}({arguments}) from {plugin.distribution}", soft_wrap=True)
    if record.tuning is not None:
        console.print(_tuning(record.tuning), soft_wrap=True)
    for section, content in {**record.config, "environment": record.environment}.items():
        console.print(f"{section}: {_plainly(content)}", soft_wrap=True)
    if record.counts is not None and not untrue:
        _print_matrices(console, record, record.counts)
        _print_metrics(console, record.counts)
    if record.probes and not untrue:
        _print_probes(console, record.probes)
    if record.within_task is not None and not untrue:
        _print_within_task(console, record.within_task)
    if record.cost is not None:
        console.print(_cost(record.cost), highlight=False, soft_wrap=True)
    if record.error:
        console.print(record.error, soft_wrap=True)


def _plainly(content: Any, name: str = "") -> str:
    """A part of the configuration on one line, such as ``epochs 1, optimizer.lr 0.001``."""
    if isinstance(content, dict) and content:
        inside = sorted(content.items())
        return ", ".join(_plainly(value, f"{name}.{key}" if name else str(key)) for key, value in inside)
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True, ensure_ascii=False)
    return f"{name} {text}".strip()


def _read(path: Path) -> RunRecord:
    """The record; if there is no file, an error that suggests one."""
    from clsuite.plugin.catalog import catalog
    from clsuite.runner.spec import shipped_benchmarks

    if is_no_folder(path):
        return read_record(path)
    if path.is_dir():
        inside = next(iter(files_below(path, "seed*.json")), None)
        named = f"name one of its records, such as {inside}" if inside else "it holds no records"
        raise UserError(f"'{path}' is a folder: {named}. For all of them: clsuite table {path}")
    if str(path) in shipped_benchmarks():
        raise UserError(
            f"'{path}' is a benchmark, and show takes a record, such as runs/{path}/METHOD/seed0-….json: "
            f"clsuite bench {path} --dry-run lists them"
        )
    if near := nearest(str(path), catalog()):
        raise UserError(f"no record at '{path}'. Did you mean the method {' or '.join(map(repr, near))}?")
    raise UserError(f"no record at '{path}': clsuite bench writes them to runs/BENCHMARK/METHOD/seed0-….json")


def _version_warning(record: RunRecord) -> str:
    """A warning if the record was made by a version with other results; empty if it was not."""
    version = record.results_version()
    if version != RESULTS_VERSION:
        made = f"results version {version}; this one has {RESULTS_VERSION}"
        return f"made by an older version of clsuite ({made}): run again, it may come out differently"
    return ""


def _taken(record: RunRecord) -> str:
    """What the run used from the features that runs share."""
    taken = record.features
    return (
        f", and features of {taken.images} images from the store, which had cost {taken.seconds:.1f} s" if taken else ""
    )


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


def _print_matrices(console: Console, record: RunRecord, counts: CountsEntry) -> None:
    """Print the matrix of the stream's protocol, and the one over all names if there is one."""
    names = [protocol for protocol in counts.protocols if protocol == "open_vocabulary"]
    for protocol in dict.fromkeys([record.protocol, *names]):
        _print_matrix(console, record, counts.of(protocol), protocol)


def _print_matrix(console: Console, record: RunRecord, matrix: Counts, protocol: Protocol) -> None:
    rows = [matrix.initial, *matrix.accuracy]
    columns = [
        TableColumn(str(part + 1), f"{part + 1}: {shown(name)}", [f"{100 * row[part]:.1f}" for row in rows], part)
        for part, name in enumerate(record.scenario.columns)
    ]
    seen = ["-" if math.isnan(value) else f"{100 * value:.1f}" for value in accuracy_over_time_weighted(matrix)]
    columns.insert(0, TableColumn("seen", "all seen", ["-", *seen], 0))
    first = TableColumn("after", "after", ["nothing", *(f"task {row + 1}" for row in range(matrix.tasks))])
    title = (
        f"{protocol.replace('_', '-')} accuracy in %: row, after learning; column, test part, and all images of seen "
        "parts together"
    )
    print_table(console, title, first, columns)


def _print_metrics(console: Console, counts: CountsEntry) -> None:
    values = [compute_all(counts.of(protocol)) for protocol in counts.protocols]
    cells = [["-" if math.isnan(value[name]) else f"{100 * value[name]:.2f}" for name in METRICS] for value in values]
    _print_explained(console, "metrics in %", METRICS, cells)


def _print_explained(console: Console, title: str, metrics: Mapping[str, Any], cells: Sequence[Sequence[str]]) -> None:
    """Print the metrics with name, formula and source, in each protocol; narrow terminals get the figures first."""
    names = ("class-incremental", "task-aware", "open-vocabulary")[: len(cells)]
    figures = [TableColumn(name, name, cells[place], place) for place, name in enumerate(names)]
    columns = [
        TableColumn("formula", "formula", [shown(metric.formula) for metric in metrics.values()], len(figures)),
        TableColumn("source", "source", [metric.source for metric in metrics.values()], len(figures) + 1),
        *figures,
    ]
    print_table(console, title, TableColumn("metric", "metric", list(metrics)), columns)


def _print_probes(console: Console, probes: list[ProbeEntry]) -> None:
    number = max(len(probe.values) for probe in probes)
    columns = [
        TableColumn(
            probe.name,
            f"{shown(probe.name)} {'↑' if probe.higher_is_better else '↓'}",
            [_reading(probe, row) for row in range(number)],
            place,
        )
        for place, probe in enumerate(probes)
    ]
    first = TableColumn("after", "after", ["nothing", *(f"task {row}" for row in range(1, number))])
    title = "probes: accuracies in %; - where it was not read, or the method has no such reading"
    print_table(console, title, first, columns)


def _reading(probe: ProbeEntry, row: int) -> str:
    value = probe.values[row] if row < len(probe.values) else None
    if value is None:
        return "-"
    return f"{value:.4f}" if probe.correct is None else f"{100 * value:.1f}"


def _print_within_task(console: Console, entry: WithinTaskEntry) -> None:
    curves = [entry.of("class_incremental"), entry.of("task_aware")]
    cells = [[_figure(metric, curve) for metric in WITHIN_TASK.values()] for curve in curves]
    title = f"within tasks, on {sum(entry.n)} test images; accuracies in %"
    _print_explained(console, title, WITHIN_TASK, cells)


def _figure(metric: Any, curves: Curves) -> str:
    value = (100 if metric.unit == "share" else 1) * metric.compute(curves)
    return "-" if math.isnan(value) else f"{value:.2f}"
