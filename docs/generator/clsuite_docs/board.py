"""The published leaderboard, as the pages read it: figures come from its data file and from nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clsuite.board.site.text import NONE
from clsuite.metrics import PRIMARY, mean_interval
from clsuite.report.format import bytes_text

ROOT = Path(__file__).parents[3]
DATA = ROOT / "leaderboard" / "data" / "board.json"
AVERAGE, FORGETTING, AWARE = (
    "average_incremental_accuracy_weighted",
    "forgetting_max_before_last",
    "task_aware_final_accuracy_macro",
)
BOUNDS = ("joint", "finetune", "linear_probe")
"""Plugins that bound the others: all data at once, nothing against forgetting, nothing learned in the backbone."""


@dataclass(frozen=True)
class Row:
    """A method on one board.

    Attributes:
        content: The row as the data file has it.
    """

    content: dict[str, Any]

    @property
    def method(self) -> str:
        """Its name in tables."""
        return str(self.content["method"])

    @property
    def plugins(self) -> list[str]:
        """Names of its plugins."""
        return [str(plugin["name"]) for plugin in self.content["plugins"]]

    @property
    def is_stale(self) -> bool:
        """Whether sources that made it have changed since."""
        return str(self.content["badge"]) == "stale"

    @property
    def is_bound(self) -> bool:
        """Whether it is a bound and no method."""
        return self.plugins[0] in BOUNDS

    def values(self, metric: str) -> dict[int, float]:
        """A figure by seed, where it is defined."""
        figure = self.content["figures"].get(metric, {"values": []})
        pairs = zip(self.content["seeds"], figure["values"], strict=False)
        return {seed: value for seed, value in pairs if value is not None}

    def mean(self, metric: str) -> float:
        """The mean of a figure over the seeds."""
        return float(self.content["figures"][metric]["mean"])

    def text(self, metric: str) -> str:
        """A share in percent, as mean ± half of its interval; a dash where it is not defined."""
        values = list(self.values(metric).values())
        return share_text(*mean_interval(values)) if values else NONE

    @property
    def stored(self) -> str:
        """What it keeps from task to task."""
        return bytes_text(self.mean("stored_bytes"))

    @property
    def rank(self) -> str:
        """Its rank and the interval of that, or which bound it is."""
        rank = self.content["rank"]
        if rank is None:
            return f"{self.content['bound']} bound"
        low, high = rank["low"], rank["high"]
        return f"{rank['rank']} ({low}-{high})" if low is not None else f"{rank['rank']} (one seed)"


@dataclass(frozen=True)
class Benchmark:
    """A board.

    Attributes:
        content: The board as the data file has it.
        rows: Its rows, the best first.
    """

    content: dict[str, Any]
    rows: tuple[Row, ...]

    def __getattr__(self, name: str) -> Any:
        """What the data file says of it, such as its name, title, tasks and backbone."""
        if name in self.content:
            return self.content[name]
        raise AttributeError(name)

    @property
    def stale(self) -> int:
        """Number of stale rows."""
        return sum(row.is_stale for row in self.rows)

    def row(self, method: str) -> Row | None:
        """The row of a method by its name."""
        return next((row for row in self.rows if row.method == method), None)


@cache
def benchmarks() -> tuple[Benchmark, ...]:
    """All boards, the quickstart's first."""
    found = json.loads(DATA.read_text(encoding="utf-8"))["benchmarks"]
    boards = (Benchmark(one, tuple(map(Row, one["rows"]))) for one in found)
    return tuple(sorted(boards, key=lambda board: (board.content["name"] != "quickstart", board.content["name"])))


def rows_of(plugin: str) -> Iterator[tuple[Benchmark, Row]]:
    """Every row that a plugin is part of."""
    yield from ((board, row) for board in benchmarks() for row in board.rows if plugin in row.plugins)


def difference(first: Row, second: Row, metric: str) -> tuple[float, float]:
    """The mean difference of two rows over the seeds that both have, and half of its interval (`nan` for one seed)."""
    one, other = first.values(metric), second.values(metric)
    return mean_interval([one[seed] - other[seed] for seed in one if seed in other])


def share_text(mean: float, half: float, sign: str = "") -> str:
    """A share in percent with half of its interval, where there is one.

    Args:
        mean: The mean.
        half: Half of the interval; `nan` for one seed.
        sign: ``+`` where a plus is to be written.
    """
    return f"{100 * mean:{sign}.1f}" + (f" ± {100 * half:.1f}" if half == half else "")


__all__ = [
    "AVERAGE",
    "AWARE",
    "FORGETTING",
    "NONE",
    "PRIMARY",
    "Benchmark",
    "Row",
    "benchmarks",
    "difference",
    "rows_of",
    "share_text",
]
