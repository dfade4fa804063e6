"""The final table in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from clsuite.report.summary import COLUMNS, INTRANSIGENCE, TASK_AWARE, Row

SHOWN = (
    "final_accuracy_macro",
    "average_incremental_accuracy_weighted",
    "forgetting_max_before_last",
    "learning_accuracy",
    TASK_AWARE,
    INTRANSIGENCE,
    "trainable_parameters",
    "stored_bytes",
    "train_seconds",
)


def results_table(rows: Sequence[Row], title: str) -> Table:
    """Mean ± 95 % interval over seeds; direction marked by an arrow, the best of each column in bold.

    Accuracies and their differences are in per cent.
    """
    table = Table(
        title=escape(title), caption="accuracies in %, mean ± 95 % interval over seeds; ↑ higher is better, ↓ lower"
    )
    table.add_column("method", no_wrap=True)
    for name in SHOWN:
        arrow = {True: " ↑", False: " ↓", None: ""}[COLUMNS[name].higher_is_better]
        table.add_column(f"{COLUMNS[name].label}{arrow}", justify="right")
    table.add_column("seeds", justify="right")
    best = {name: _best(rows, name) for name in SHOWN}
    for row in rows:
        cells = [_cell(row, name, row.method in best[name]) for name in SHOWN]
        table.add_row(escape(row.method), *cells, str(len(row.seeds)))
    return table


def _best(rows: Sequence[Row], name: str) -> set[str]:
    higher = COLUMNS[name].higher_is_better
    means = {row.method: row.interval(name)[0] for row in rows if not math.isnan(row.interval(name)[0])}
    if higher is None or not means:
        return set()
    target = max(means.values()) if higher else min(means.values())
    return {method for method, mean in means.items() if mean == target}


def _cell(row: Row, name: str, bold: bool) -> str:
    mean, half = row.interval(name)
    if math.isnan(mean):
        return "-"
    if COLUMNS[name].higher_is_better is None:
        return f"{mean:.1f}" if name.endswith("seconds") else short_number(mean)
    text = f"{100 * mean:.1f}" + ("" if math.isnan(half) else f" ± {100 * half:.1f}")
    return f"[bold]{text}[/bold]" if bold else text


def short_number(value: float) -> str:
    """A count with three digits and a unit: 930 k, 1.6 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"
