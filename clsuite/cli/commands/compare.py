"""``clsuite compare``: compare two methods."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from clsuite.cli.commands.base import PATH, PATH_OR_NAME, Command, whole_numbers
from clsuite.cli.console import make_console, print_table
from clsuite.errors import UserError, shortened
from clsuite.report.fit import TableColumn
from clsuite.report.format import shown

if TYPE_CHECKING:
    from clsuite.records import RunRecord
    from clsuite.report.compare import Comparison, Paired
    from clsuite.report.units import Spread


def _arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("first", type=PATH_OR_NAME, help="a record, or a folder of one method's runs; with --runs the name of a method")
    add("second", type=PATH_OR_NAME, help="the other record, folder or method")
    add("--runs", type=PATH, help="folder of a benchmark's runs, to compare methods by their names")
    add("--seeds", type=str, help="only these seeds, comma-separated")


def _run(arguments: Namespace) -> int:
    print_comparison(arguments.first, arguments.second, arguments.runs, whole_numbers(arguments.seeds))
    return 0


def print_comparison(first: str, second: str, runs: Path | None, seeds: Sequence[int]) -> None:
    """Print paired differences of two methods.

    Args:
        first: A record or a folder with the runs of one method; if `runs` is passed, the name of a method.
        second: Likewise.
        runs: A folder of runs.
        seeds: The seeds to compare; all by default.

    Raises:
        UserError: If something does not exist or the methods cannot be compared.
    """
    from clsuite.report.compare import compare, only_seeds, verdict

    comparison = compare(*(only_seeds(_find(name, runs), name, seeds) for name in (first, second)))
    console = make_console()
    _print(console, comparison, comparison.metrics, "metric")
    _print(console, comparison, comparison.parts, "test part at the end")
    for note in comparison.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(verdict(comparison), soft_wrap=True)


def _find(name: str, runs: Path | None) -> list[RunRecord]:
    from clsuite.cli.partly import print_unfinished
    from clsuite.report.gather import method_below, one_method
    from clsuite.runner.file_names import file_name

    if runs is None and not Path(name).exists():
        raise UserError(
            f"'{shortened(name)}' is neither a record nor a folder of runs: a method by its name needs the folder of "
            "its benchmark's runs, --runs runs/BENCHMARK"
        )
    found = one_method(Path(name)) if runs is None else method_below(runs, name)
    for line in found.left_out:
        make_console(stderr=True).print(line, soft_wrap=True)
    print_unfinished([Path(name) if runs is None else runs / file_name(name)])
    return sorted(found.records.values(), key=lambda record: record.seed)


def _print(console: Console, comparison: Comparison, rows: Sequence[Paired], heading: str) -> None:
    """Print a table of differences; in a narrow terminal the mean comes first and the individual seeds last."""
    over = "orders, each with its mean over seeds (in parentheses min · median · max)" if comparison.orders else "seeds"
    note = (
        f"in percent and points; difference is the mean ± 95 % interval over {over}; p: sign-flip test, each row alone"
    )
    seeds = [f"order {order}" for order in comparison.orders] or [f"seed {seed}" for seed in comparison.seeds]
    headings = [shown(comparison.first), shown(comparison.second), *seeds, "difference", "p"]
    order = [2, 3, *range(4, 4 + len(seeds)), 0, 1]
    cells = list(zip(*(_cells(row) for row in rows), strict=True))
    columns = [
        TableColumn(name, name, figures, importance)
        for name, figures, importance in zip(headings, cells, order, strict=True)
    ]
    names = [shown(f"{row.name} {'↑' if row.higher_is_better else '↓'}") for row in rows]
    title = shown(f"{comparison.first} minus {comparison.second}")
    print_table(console, title, TableColumn(heading, heading, names), columns, note)


def _cells(row: Paired) -> list[str]:
    means = [f"{100 * sum(values) / len(values):.1f}" for values in (row.first, row.second)]
    means = [f"{mean}{_spread(over)}" for mean, over in zip(means, row.spreads or (None, None), strict=True)]
    mean, half = row.interval
    difference = f"{100 * mean:+.1f}" + ("" if math.isnan(half) else f" ± {100 * half:.1f}")
    each = [f"{100 * value:+.1f}" for value in row.differences]
    cells = [*means, *each, difference, f"{row.p:.3g}"]
    return ["-" if "nan" in cell else cell for cell in cells]


def _spread(over: Spread | None) -> str:
    """Minimum, median and maximum over orders, in brackets."""
    return f" ({100 * over.minimum:.1f} · {100 * over.median:.1f} · {100 * over.maximum:.1f})" if over else ""


COMMAND = Command(
    "Compare two methods seed by seed: differences with intervals, an exact test, and a verdict in words.",
    (
        "clsuite compare runs/quickstart/replay runs/quickstart/finetune",
        "clsuite compare replay finetune --runs runs/quickstart --seeds 0,1",
    ),
    _arguments,
    _run,
)
