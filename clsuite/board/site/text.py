"""Figures as people read them."""

from __future__ import annotations

from clsuite.board.model import Rank, Row
from clsuite.metrics import Column
from clsuite.metrics.column import Unit
from clsuite.report.format import number_text
from clsuite.report.summary import Figure

ONE_SEED = "one seed"
NONE = "\N{EN DASH}"


def value_text(value: float | None, unit: Unit) -> str:
    """A figure without its interval, as everywhere, but with a dash of its own where it is not defined."""
    return number_text(value, unit, NONE)


def half_text(figure: Figure, column: Column) -> str:
    """Half the width of the 95 % interval; empty where there is none or where it is no news (a count that is fixed)."""
    if figure.half is None or column.unit in ("parameters", "bytes", "samples"):
        return ""
    return value_text(figure.half, column.unit)


def rank_text(rank: Rank) -> str:
    """The interval of a rank, such as 2-4, or 3-3 where it is the rank itself; unknown from one seed."""
    if rank.low is None or rank.high is None:
        return ONE_SEED
    return f"{rank.low}-{rank.high}"


def status_text(row: Row) -> str:
    """The badge of a row, and of how many of its runs it is that, where not of all."""
    number = sum(run.badge == row.badge for run in row.runs)
    return row.badge if number == len(row.runs) else f"{row.badge} {number}/{len(row.runs)}"


def same_text(row: Row) -> str:
    """Which methods give the same predictions; empty where none does."""
    return f"same predictions as {', '.join(row.same_as)}" if row.same_as else ""


def kinds_text(number: int, where: str) -> str:
    """What it means for the figures that runs are of several kinds of machine and precision.

    Args:
        number: How many kinds.
        where: Where they are named.
    """
    return (
        f"The runs are of {number} kinds of machine and precision ({where}), for which accuracies may differ a little. "
        f"Times are comparable within one kind alone: a row whose runs are of several has none ({NONE})."
    )


def direction_text(column: Column) -> str:
    """What the arrow of a column means."""
    return {True: "higher is better", False: "lower is better", None: "neither way is better"}[column.higher_is_better]


def source_text(column: Column) -> str:
    """Whose formula a column has, in brackets; empty where it has none."""
    return f"({column.source})" if column.source else ""


def hint_text(column: Column) -> str:
    """Everything that is said about a column, on one line."""
    return " ".join(part for part in (column.about, column.formula, source_text(column)) if part)


def unit_text(column: Column) -> str:
    """The text below a heading."""
    return "%" if column.unit == "share" else ""
