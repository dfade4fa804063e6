"""By which column a board is ranked, and which of its rows are bounds without a rank."""

from __future__ import annotations

from clsuite.board.confirmed import our_source
from clsuite.board.model import Bound
from clsuite.metrics import LAST, PRIMARY
from clsuite.records import RunRecord


def headline_of(kind: str) -> str:
    """The column by which the rows of a board are ranked.

    Of class-incremental streams it is the last accuracy of papers, of sequences of data sets MTIL's Last.

    Args:
        kind: Kind of the board's stream.
    """
    if kind == "cross_domain":
        return "mtil_last"
    return LAST if kind in ("class_incremental", "few_shot", "long_tailed", "online") else PRIMARY


def bound_of(record: RunRecord) -> Bound | None:
    """Which bound a method is by the traits of its only plugin; None if it is none."""
    source = our_source(record.plugins[0].name) if len(record.plugins) == 1 else None
    bounds: dict[str, Bound] = {"upper bound": "upper", "lower bound": "lower"}
    return bounds.get(source.traits.paper) if source else None
