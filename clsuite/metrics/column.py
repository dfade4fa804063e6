"""A column of a table of results, as terminal, CSV, README and web page describe it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["share", "parameters", "bytes", "samples", "seconds", "number"]


@dataclass(frozen=True)
class Column:
    """A figure that tables show.

    Attributes:
        name: Exact name, as in records and CSV files.
        label: Short heading.
        formula: In the notation of `clsuite.metrics.variants`; empty where it has none.
        source: Paper or library that defines this formula; empty where it has none.
        higher_is_better: Direction; None where neither way is better, or where rows cannot be compared (times of
            several kinds of machine, changes of probes).
        about: What it is, in plain words.
        unit: Of its values; shares are fractions, and shown in per cent.
    """

    name: str
    label: str
    formula: str = ""
    source: str = ""
    higher_is_better: bool | None = None
    about: str = ""
    unit: Unit = "share"

    @property
    def arrow(self) -> str:
        """The mark of its direction; empty where neither way is better."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def is_cost(self) -> bool:
        """Whether it is a count or a time, which is never below zero."""
        return self.unit not in ("share", "number")
