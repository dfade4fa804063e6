"""`clsuite compare`: two methods seed by seed, with plain words at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from clsuite.cli.console import make_console
from clsuite.errors import UserError
from clsuite.records import RunRecord
from clsuite.report.compare import Comparison, Paired, compare, verdict
from clsuite.report.gather import method_below, one_method
from clsuite.report.text import shown


def print_comparison(first: str, second: str, runs: Path | None, seeds: Sequence[int]) -> None:
    """Print paired differences of two methods.

    Args:
        first: A record or a folder of one method's runs; with `runs` the name of a method.
        second: Likewise.
        runs: A folder of runs.
        seeds: Only these seeds; all by default.

    Raises:
        UserError: If something is not there or the two cannot be compared.
    """
    comparison = compare(*(_only(_find(name, runs), name, seeds) for name in (first, second)))
    console = make_console()
    console.print(_table(comparison, comparison.metrics, "metric"))
    console.print(_table(comparison, comparison.parts, "test part, after the last task"))
    for note in comparison.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(verdict(comparison), soft_wrap=True)


def _find(name: str, runs: Path | None) -> list[RunRecord]:
    return one_method(Path(name)) if runs is None else method_below(runs, name)


def _only(records: list[RunRecord], name: str, seeds: Sequence[int]) -> list[RunRecord]:
    chosen = [record for record in records if not seeds or record.seed in seeds]
    missing = sorted(set(seeds) - {record.seed for record in records})
    if missing:
        raise UserError(f"'{name}' has no finished run with seed {', '.join(str(seed) for seed in missing)}")
    return chosen


def _table(comparison: Comparison, rows: Sequence[Paired], heading: str) -> Table:
    caption = (
        "in per cent and points; difference is the mean ± 95 % interval over seeds; p: sign-flip test, each row alone"
    )
    table = Table(title=shown(f"{comparison.first} less {comparison.second}"), caption=caption)
    table.add_column(heading)
    for name in (comparison.first, comparison.second):
        table.add_column(shown(name), justify="right")
    for seed in comparison.seeds:
        table.add_column(f"seed {seed}", justify="right")
    table.add_column("difference", justify="right")
    table.add_column("p", justify="right")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Paired) -> list[str]:
    arrow = "↑" if row.higher_is_better else "↓"
    means = [f"{100 * sum(values) / len(values):.1f}" for values in (row.first, row.second)]
    mean, half = row.interval
    difference = f"{100 * mean:+.1f}" + ("" if math.isnan(half) else f" ± {100 * half:.1f}")
    each = [f"{100 * value:+.1f}" for value in row.differences]
    cells = [*means, *each, difference, f"{row.p:.3g}"]
    return [f"{shown(row.name)} {arrow}", *("-" if "nan" in cell else cell for cell in cells)]
