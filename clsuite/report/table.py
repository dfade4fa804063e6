"""The final table in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.table import Table

from clsuite.metrics import PRIMARY, WITHIN_TASK
from clsuite.report.descriptions import INTRANSIGENCE, TASK_AWARE
from clsuite.report.fit import NARROW, TableColumn, add_columns
from clsuite.report.format import rounded, shown
from clsuite.report.summary import COLUMNS, PROBE, TIMES, Column, Row

SHOWN = (
    PRIMARY,
    "final_accuracy_weighted",
    "average_incremental_accuracy_weighted",
    "forgetting_max_before_last",
    "learning_accuracy",
    TASK_AWARE,
    INTRANSIGENCE,
    "trainable_parameters",
    "stored_bytes",
    "train_seconds",
)
SEEDS = "the number of seeds"
FIRST = (PRIMARY, "average_incremental_accuracy_weighted", "forgetting_max_before_last", SEEDS)
"""What a narrow terminal shows before everything else, in this order; the other columns follow as they stand."""
CAPTION = (
    "accuracies in %, mean ± 95 % interval over seeds; ↑ higher is better, ↓ lower; macro: every test part alike, "
    "weighted: all test images together, as most papers' last accuracy"
)
PARTLY = "; intransigence over the seeds that joint training has too"


def results_table(
    rows: Sequence[Row], title: str, columns: Mapping[str, Column] = COLUMNS, width: int | None = None
) -> Table:
    """Mean ± 95 % interval over seeds; direction marked by an arrow, the best of each column in bold.

    Accuracies and their differences are in per cent. The columns are those of `columns_of` where it is known what the
    records have. In a terminal of a given width the most important are shown, and the caption names the others.
    """
    return rich_table(rows, {name: columns[name] for name in SHOWN}, title, width)


def rich_table(
    rows: Sequence[Row], columns: Mapping[str, Column], title: str, width: int | None = None, asked: bool = False
) -> Table:
    """As `results_table`, of the given columns; where they were asked for by name, the first are the most important."""
    gaps = [[math.isnan(value) for value in row.values.get(INTRANSIGENCE, ())] for row in rows]
    partly = INTRANSIGENCE in columns and any(any(gap) and not all(gap) for gap in gaps)
    return _table(rows, columns, title, CAPTION + PARTLY * partly, width, () if asked else FIRST)


def probes_table(rows: Sequence[Row], columns: Mapping[str, Column], width: int | None = None) -> Table | None:
    """What the probes read after the stream and how that changed; None where no record has probes.

    Args:
        rows: As `summarize` makes them.
        columns: As `columns_of` makes them.
        width: Of the terminal; None shows all.
    """
    probed = {name: column for name, column in columns.items() if name.startswith(PROBE)}
    caption = "after the last task, and the change from before the first; accuracies in %"
    return _table(rows, probed, "Retention probes", caption, width) if probed else None


def within_task_table(rows: Sequence[Row], columns: Mapping[str, Column], width: int | None = None) -> Table | None:
    """The metrics of the accuracy within tasks; None where no record has it. The arguments are `probes_table`'s."""
    within = {name: column for name, column in columns.items() if name in WITHIN_TASK}
    caption = "on a fixed part of the test images, during training; accuracies in %"
    return _table(rows, within, "Within tasks", caption, width) if within else None


def _table(
    rows: Sequence[Row],
    columns: Mapping[str, Column],
    title: str,
    caption: str,
    width: int | None,
    first: Sequence[str] = (),
) -> Table:
    table = Table(title=shown(title))
    figures = [_figures(rows, name, column) for name, column in columns.items()]
    figures.append(TableColumn(SEEDS, "seeds", [str(len(row.seeds)) for row in rows]))
    wanted = sorted(range(len(figures)), key=lambda index: _importance(figures[index], first))
    ranked = [replace(one, importance=wanted.index(index)) for index, one in enumerate(figures)]
    names = TableColumn("method", "method", [shown(row.method) for row in rows])
    left = [column.name for column in add_columns(table, names, ranked, width)]
    told = f"; {NARROW}{', '.join(left)} (clsuite table FOLDER --columns NAME,... shows them)"
    table.caption = caption + told * bool(left)
    return table


def _importance(column: TableColumn, first: Sequence[str]) -> tuple[bool, int]:
    """A column without any figure comes last."""
    empty = all(cell == "-" for cell in column.cells)
    return empty, first.index(column.name) if column.name in first else len(first)


def _figures(rows: Sequence[Row], name: str, column: Column) -> TableColumn:
    arrow = {True: " ↑", False: " ↓", None: ""}[column.higher_is_better]
    best = best_methods(rows, name, column)
    cells = [_cell(row, name, column, row.method in best) for row in rows]
    return TableColumn(name, f"{shown(column.label)}{arrow}", cells)


def best_methods(rows: Sequence[Row], name: str, column: Column) -> set[str]:
    """The methods with the best mean of a figure, several where they are level; an upper bound is not one of them.

    None where neither way is better, and where no two methods have the figure or all are level.
    """
    methods = [row for row in rows if not row.is_bound]
    means = {row.method: mean for row in methods if (mean := rounded(row.interval(name)[0])) is not None}
    if column.higher_is_better is None or len({*means.values()}) < 2:
        return set()
    target = max(means.values()) if column.higher_is_better else min(means.values())
    return {method for method, mean in means.items() if mean == target}


def _cell(row: Row, name: str, column: Column, bold: bool) -> str:
    text = figure_text(row, name, column)
    return f"[bold]{text}[/bold]" if bold else text


def figure_text(row: Row, name: str, column: Column) -> str:
    """A figure for people: mean ± half-width, accuracies in per cent; a dash where it is not defined."""
    mean, half = row.interval(name)
    if math.isnan(mean):
        return "-"
    if column.cost:
        texts = {"stored_bytes": bytes_text, **dict.fromkeys(TIMES, "{:.1f}".format)}
        return texts.get(name, short_number)(mean)
    scale, digits = (100, 1) if column.share else (1, 3)
    return f"{scale * mean:.{digits}f}" + ("" if math.isnan(half) else f" ± {scale * half:.{digits}f}")


def short_number(value: float) -> str:
    """A count with three digits and a unit: 930 k, 1.6 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def bytes_text(value: float) -> str:
    """A size with three digits and a unit: 512 B, 7.72 kB."""
    return f"{short_number(value)}B" if value >= 999.5 else f"{value:.0f} B"
