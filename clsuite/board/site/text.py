"""Figures as people read them."""

from __future__ import annotations

from clsuite.board.model import Figure, Metric, Rank, Row, Unit
from clsuite.report.table import bytes_text, short_number

ONE_SEED = "one seed"
NONE = "\N{EN DASH}"


def number_text(value: float | None, unit: Unit) -> str:
    """A figure without its interval; a dash where it is not defined. Shares are in per cent, without the sign."""
    if value is None:
        return NONE
    if unit == "share":
        return f"{100 * value:.1f}"
    if unit == "bytes":
        return bytes_text(value)
    if unit in ("parameters", "samples"):
        return short_number(value)
    return f"{value:.1f}" if unit == "seconds" else f"{value:.3f}"


def half_text(figure: Figure, unit: Unit) -> str:
    """Half the width of the 95 % interval; empty where there is none or where it is no news (a count that is fixed)."""
    if figure.low is None or figure.high is None or unit in ("parameters", "bytes", "samples"):
        return ""
    return number_text(figure.high - (figure.mean or 0.0), unit)


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


def direction(metric: Metric) -> tuple[str, str]:
    """The arrow of a column, and what it means."""
    return {
        True: ("↑", "higher is better"),
        False: ("↓", "lower is better"),
        None: ("", "neither way is better"),
    }[metric.higher_is_better]


def source_text(metric: Metric) -> str:
    """Whose formula a column has, in brackets; empty where it has none."""
    return f"({metric.source})" if metric.source else ""


def hint_text(metric: Metric) -> str:
    """Everything that is said about a column, on one line."""
    return " ".join(part for part in (metric.about, metric.formula, source_text(metric)) if part)


def unit_text(metric: Metric) -> str:
    """The text below a heading."""
    return "%" if metric.unit == "share" else ""
