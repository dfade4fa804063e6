"""The description of a column, shared by terminal, CSV, README and web page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["share", "parameters", "bytes", "samples", "seconds", "number"]


@dataclass(frozen=True)
class Column:
    """A column of a table of results.

    Attributes:
        name: Unique name, as in records and CSV files.
        label: Short heading.
        formula: Formula in the notation of `clsuite.metrics.variants`; empty if there is none.
        source: Paper or library that defines the formula; empty if there is none.
        higher_is_better: Direction; None if there is none, or if rows cannot be compared (times of several kinds of
            machine, changes of probes).
        about: Description in plain words.
        unit: Unit of its values; shares are fractions, shown in percent.
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
        """The arrow of its direction; empty if it has none."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def is_cost(self) -> bool:
        """Whether it is a count or a time, which cannot be negative."""
        return self.unit not in ("share", "number")
