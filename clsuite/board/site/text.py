"""Texts of the leaderboard's pages: figures, ranks, statuses and explanations."""

from __future__ import annotations

from clsuite.board.model import Benchmark, Rank, Row
from clsuite.metrics import Column
from clsuite.metrics.column import Unit
from clsuite.report.format import counted, number_text
from clsuite.report.summary import Figure
from clsuite.report.table import spread_text

ONE_SEED = "one seed"
NONE = "\N{EN DASH}"


def value_text(value: float | None, unit: Unit) -> str:
    """A figure without its interval, in the format of all reports; an en dash if it is not defined."""
    return number_text(value, unit, NONE)


def half_text(figure: Figure, column: Column) -> str:
    """Half the width of the 95 % interval; empty if there is none, or for counts that do not vary between seeds.

    If there are several orders, minimum, median and maximum over them follow in parentheses.
    """
    if figure.spread is not None:
        return f"{value_text(figure.half, column.unit)} ({spread_text(figure.spread, column)})"
    if figure.half is None or column.unit in ("parameters", "bytes", "samples"):
        return ""
    return value_text(figure.half, column.unit)


def place_text(row: Row) -> str:
    """The rank of a row with its interval, such as ``3 (2-4)``, or which bound it is."""
    return bound_text(row) if row.rank is None else f"{row.rank.rank} ({rank_text(row.rank)})"


def bound_text(row: Row) -> str:
    """Which bound a row is; empty if it is none."""
    return f"{row.bound} bound" if row.bound else ""


def rank_text(rank: Rank) -> str:
    """The interval of a rank, such as 2-4, or 3-3 if it is the rank alone; for one seed `ONE_SEED`."""
    if rank.low is None or rank.high is None:
        return ONE_SEED
    return f"{rank.low}-{rank.high}"


def status_text(row: Row) -> str:
    """The badge of a row, with the number of runs that have it if not all have."""
    number = sum(run.badge == row.badge for run in row.runs)
    return row.badge if number == len(row.runs) else f"{row.badge} {number}/{len(row.runs)}"


def same_text(row: Row) -> str:
    """Which methods give the same predictions; empty if none does."""
    return f"same predictions as {', '.join(row.same_as)}" if row.same_as else ""


def kinds_text(number: int, where: str) -> str:
    """What it means for the figures that the runs used several combinations of machine and precision.

    Args:
        number: Number of combinations.
        where: Where they are listed.
    """
    return (
        f"The runs used {number} combinations of machine and precision ({where}), between which accuracies may differ "
        f"slightly. Times are comparable within one combination only: a row whose runs used several has none ({NONE})."
    )


def stale_text(benchmark: Benchmark) -> str:
    """How many rows of a board are stale, and what that means; empty if none is."""
    stale = sum(row.badge == "stale" for row in benchmark.rows)
    if not stale:
        return ""
    rows = f"{stale} of {counted(len(benchmark.rows), 'row')} {'is' if stale == 1 else 'are'} stale"
    return f"{rows}: made by an earlier version of a method or of this stream, and waiting to be run again."


def direction_text(column: Column) -> str:
    """What the arrow of a column means."""
    return {True: "higher is better", False: "lower is better", None: "neither direction is better"}[
        column.higher_is_better
    ]


def source_text(column: Column) -> str:
    """The source of a column's formula in parentheses; empty if it has none."""
    return f"({column.source})" if column.source else ""


def hint_text(column: Column) -> str:
    """Description, formula and source of a column, on one line."""
    return " ".join(part for part in (column.about, column.formula, source_text(column)) if part)


def unit_text(column: Column) -> str:
    """The unit that is shown in a heading."""
    return "%" if column.unit == "share" else ""
