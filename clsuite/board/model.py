"""The leaderboard as data, from which pages, CSV and JSON are made.

Shares are fractions between 0 and 1, memory is in bytes and time in seconds.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from clsuite.errors import shortened
from clsuite.metrics import Column
from clsuite.report.format import kind_of
from clsuite.report.summary import Row as ResultRow

BOARD_VERSION = 7
Badge = Literal["measured", "confirmed", "unconfirmed", "stale"]
Bound = Literal["upper", "lower"]
BADGES: dict[str, str] = {
    "measured": "measured here",
    "confirmed": "rerun and confirmed",
    "unconfirmed": "rerun, with a different result",
    "stale": "made by an earlier version of clsuite, of a plugin or of the stream",
    "reported": "reported by its paper",
}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rank(_Model):
    """Rank by a board's headline, 1 is best; `low` to `high` is its 95 % interval by a paired bootstrap over seeds.

    The interval is None for a row of one seed.
    """

    rank: int
    low: int | None
    high: int | None


class PluginUse(_Model):
    """A plugin of a method, with all its arguments, and the summary of its docstring if its source is available.

    `papers` are the addresses of its papers by their names, empty if none is known.
    """

    name: str
    args: dict[str, Any]
    distribution: str
    summary: str = ""
    papers: dict[str, str] = {}


class Tags(_Model):
    """What rows can be filtered by: `years` are those of all papers, `pet` the kinds of modules that are trained."""

    backbone: str
    exemplars: bool
    task_id: bool
    gradient: bool
    pet: list[str]
    needs: list[str]
    stores: list[str]
    years: list[int]


class Rerun(_Model):
    """The result of a rerun of a record.

    Attributes:
        key: Key of the record that was rerun.
        date: Day of the rerun, ISO 8601.
        machine: Kind of machine, such as ``cpu: AMD EPYC``.
        outcome: ``identical``, ``within tolerance`` (on another kind of machine), ``different`` or ``other stream``.
        figures: Final accuracy as published and as rerun, and the largest difference of any entry of the matrix.
    """

    key: str
    date: str
    machine: str
    outcome: Literal["identical", "within tolerance", "different", "other stream"]
    figures: dict[str, Annotated[float, Field(allow_inf_nan=False)]]


class Run(_Model):
    """One published record.

    Attributes:
        order: Name of its order if that is apart from the seed.
        record: Its file, relative to the leaderboard's folder.
        initial: Accuracy on each test part before any training, ``[C]``.
        accuracy: Accuracy on part j after learning task i, ``[T, C]``.
        learned: The task after which part j is learned for the first time, ``[C]``.
        over_tasks: Accuracy on all classes seen so far, ``[T]``; None if no class has been seen.
        probes: Readings of each probe, ``[T + 1]``; None for a missing reading.
        notes: Why it is stale, and what it says about hyperparameter search and published sources.
        command: The command that repeats it.
        machine: Kind of machine on which it ran.
    """

    key: str
    seed: int
    order: str = ""
    record: str
    badge: Badge
    notes: list[str]
    rerun: Rerun | None
    command: str
    machine: str
    tasks: list[str]
    parts: list[str]
    initial: list[float]
    accuracy: list[list[float]]
    learned: list[int]
    over_tasks: list[float | None]
    probes: dict[str, list[float | None]]
    stored_bytes: dict[str, int]
    seconds: float
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """Its seed, and its order if that is apart from the seed."""
        return f"{self.seed} order {self.order}" if self.order else str(self.seed)

    @property
    def kind(self) -> tuple[str, str]:
        """Machine and precision."""
        return self.machine, kind_of(self.environment)[1]


class Row(ResultRow):
    """A row of results, with figures to nine digits.

    Attributes:
        title: The name that papers use for the method; `method` is the name that commands use.
        bound: Which bound the row is, such as joint training; None for a method.
        rank: Its rank among the methods; None for a bound.
        config: The configuration that all its runs share.
        same_as: The methods that give the same predictions after every task, for all seeds that both have.
    """

    title: str
    badge: Badge
    bound: Bound | None = None
    rank: Rank | None
    tags: Tags
    plugins: list[PluginUse]
    config: dict[str, Any]
    runs: list[Run]
    same_as: list[str] = Field(default_factory=list)


class Benchmark(_Model):
    """A board: the table of results of one benchmark, best first.

    Attributes:
        headline: Name of the column by which its rows are ordered and ranked.
        metrics: Its columns.
    """

    name: str
    headline: str
    title: str
    kind: str
    protocol: str
    dataset: str
    backbone: str
    tasks: int
    seeds: list[int]
    metrics: list[Column]
    rows: list[Row]

    @property
    def ranked(self) -> int:
        """Number of rows with a rank: all but the bounds."""
        return sum(row.rank is not None for row in self.rows)

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The combinations of machine and precision of its runs; times are comparable within one of them."""
        return sorted({run.kind for row in self.rows for run in row.runs})


def _checked_address(address: str) -> str:
    """Check that pages and tables can link to an address."""
    if re.fullmatch(r"(https://[^\s|()<>]+)?", address) is None:
        raise ValueError(
            f"an address must begin with https:// and have no blank, bracket or '|', unlike '{shortened(address)}'"
        )
    return address


class Reported(_Model):
    """Figures that a paper states; never ranked with measured rows.

    Attributes:
        figures: By the paper's own name of the metric, as written there (percent unless the name says otherwise).
        address: Address of the paper; empty where it is not known.
        second_hand: Whether they were read in tables of later papers and not in the paper itself.
    """

    method: str
    stream: str
    weights: str
    protocol: str
    source: str
    address: Annotated[str, AfterValidator(_checked_address)] = ""
    figures: dict[str, str] = Field(min_length=1)
    second_hand: bool = False


class Board(_Model):
    """All published results."""

    schema_version: int = BOARD_VERSION
    badges: dict[str, str] = Field(default_factory=lambda: dict(BADGES))
    benchmarks: list[Benchmark]
    reported: list[Reported]
