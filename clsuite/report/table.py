"""The table of results in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.table import Table

from clsuite.metrics import INTRANSIGENCE, OPEN_VOCABULARY, PRIMARY, TASK_AWARE, WITHIN_TASK, Column
from clsuite.report.fit import NARROW, TableColumn, add_columns
from clsuite.report.format import DASH, number_text, shown
from clsuite.report.probe_columns import PROBE
from clsuite.report.summary import Figure, ResultTable, Row
from clsuite.report.units import Spread

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
ORDERS = "the number of orders"
FIRST = (PRIMARY, "average_incremental_accuracy_weighted", "forgetting_max_before_last", SEEDS, ORDERS)
"""The columns that a narrow terminal shows first, in this order; the others follow in their own order."""
CAPTION = (
    "accuracies in %, mean ± 95 % interval over seeds; ↑ higher is better, ↓ lower; macro: every test part alike, "
    "weighted: all test images together, as most papers' last accuracy"
)
OVER_ORDERS = (
    "accuracies in %, mean ± 95 % interval over orders drawn at random, each with its mean over seeds; in parentheses "
    "min · median · max over orders; ↑ higher is better, ↓ lower; macro: every test part alike, weighted: all test "
    "images together, as most papers' last accuracy"
)
CHOSEN = "; orders after + were chosen, such as by a search, and count for min and max only"
UNEQUAL = "; the methods ran in different numbers of orders, and the minimum over more orders is lower"
PARTLY = "; intransigence over the seeds that joint training has too"


def results_table(
    results: ResultTable, title: str, width: int | None = None, asked: Sequence[Column] | None = None
) -> Table:
    """Make the table of mean ± 95 % interval over seeds, with arrows for directions and the best values in bold.

    Accuracies and their differences are in percent. If a width is passed, the most important columns are shown, and the
    caption names the others.

    Args:
        results: The table.
        title: Title of the table.
        width: Width of the terminal; None shows all columns.
        asked: The requested columns, the most important first; None shows the usual ones.
    """
    columns = [results.columns[name] for name in shown_columns(results)] if asked is None else asked
    gaps = [[value is None for value in row.figures[INTRANSIGENCE].values] for row in results.rows]
    partly = any(column.name == INTRANSIGENCE for column in columns) and any(any(gap) and not all(gap) for gap in gaps)
    caption = caption_of(results.rows) + PARTLY * partly
    return _table(results.rows, columns, title, caption, width, () if asked else (*results.judged_by, *FIRST))


def shown_columns(results: ResultTable) -> tuple[str, ...]:
    """The columns that a table shows: those by which its streams are judged, and the usual ones.

    What MTIL's Last is too, the macro average and that with the task known, is not shown twice.
    """
    same = {PRIMARY} if results.judged_by else set()
    same |= {TASK_AWARE} if {*OPEN_VOCABULARY} & {*results.judged_by} else set()
    return (*results.judged_by, *(name for name in SHOWN if name not in same))


def probes_table(results: ResultTable, width: int | None = None) -> Table | None:
    """Make the table of probe values after the stream and their changes; None if no record has probes.

    Args:
        results: The table.
        width: Width of the terminal; None shows all columns.
    """
    probed = [column for column in results.columns.values() if column.name.startswith(PROBE)]
    caption = "after the last task, and the change from before the first; accuracies in %"
    return _table(results.rows, probed, "Retention probes", caption, width) if probed else None


def within_task_table(results: ResultTable, width: int | None = None) -> Table | None:
    """Make the table of metrics within tasks; None if no record has them. The arguments are those of `probes_table`."""
    within = [column for column in results.columns.values() if column.name in WITHIN_TASK]
    caption = "on a fixed part of the test images, during training; accuracies in %"
    return _table(results.rows, within, "Within tasks", caption, width) if within else None


def _table(
    rows: Sequence[Row],
    columns: Sequence[Column],
    title: str,
    caption: str,
    width: int | None,
    first: Sequence[str] = (),
) -> Table:
    table = Table(title=shown(title))
    figures = [
        TableColumn(column.name, shown(heading(column)), [_cell(row.figures[column.name], column) for row in rows])
        for column in columns
    ]
    figures.append(TableColumn(SEEDS, "seeds", [str(len({*row.seeds})) for row in rows]))
    if any(row.orders for row in rows):
        figures.append(TableColumn(ORDERS, "orders", [orders_text(row) for row in rows]))
    wanted = sorted(range(len(figures)), key=lambda index: _importance(figures[index], first))
    ranked = [replace(column, importance=wanted.index(index)) for index, column in enumerate(figures)]
    names = TableColumn("method", "method", [shown(row.method) for row in rows])
    left = [column.name for column in add_columns(table, names, ranked, width)]
    hint = f"; {NARROW}{', '.join(left)} (clsuite table FOLDER --columns NAME,... shows them)"
    table.caption = caption + hint * bool(left)
    return table


def caption_of(rows: Sequence[Row]) -> str:
    """What the figures of some rows are over."""
    if not any(row.orders for row in rows):
        return CAPTION
    unequal = len({len({*row.orders}) for row in rows}) > 1
    return OVER_ORDERS + CHOSEN * any(row.chosen for row in rows) + UNEQUAL * unequal


def orders_text(row: Row) -> str:
    """The number of orders of a row, such as ``20``, or ``3 + 12`` if 3 were drawn and 12 chosen."""
    number = len({*row.orders}) or 1
    return f"{number - len(row.chosen)} + {len(row.chosen)}" if row.chosen else str(number)


def _importance(column: TableColumn, first: Sequence[str]) -> tuple[bool, int]:
    """A sort key; columns without any value come last."""
    empty = all(cell == DASH for cell in column.cells)
    return empty, first.index(column.name) if column.name in first else len(first)


def _cell(figure: Figure, column: Column) -> str:
    text = figure_text(figure, column)
    return f"[bold]{text}[/bold]" if figure.best else text


def heading(column: Column) -> str:
    """The heading of a column: its label and its direction."""
    return f"{column.label} {column.arrow}".rstrip()


def figure_text(figure: Figure, column: Column) -> str:
    """A cell as text: mean ± half-width, accuracies in percent; a cost without its interval.

    If there are several orders, the minimum, median and maximum over them follow in parentheses.
    """
    text = number_text(figure.mean, column.unit)
    if not column.is_cost and figure.half is not None:
        text = f"{text} ± {number_text(figure.half, column.unit)}"
    return f"{text} ({spread_text(figure.spread, column)})" if figure.spread else text


def spread_text(spread: Spread, column: Column) -> str:
    """Minimum, median and maximum over orders, such as ``60.1 · 72.0 · 80.3``."""
    values = (spread.minimum, spread.median, spread.maximum)
    return " · ".join(number_text(value, column.unit) for value in values)
