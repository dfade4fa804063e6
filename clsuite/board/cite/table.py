"""The cells of a table that can be cited: figures with their best, their second and what the paired test says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clsuite.board.cite.references import Reference, of_method, papers_of
from clsuite.board.headline import bound_of, headline_of
from clsuite.board.model import Bound
from clsuite.board.titles import title_of, told_apart
from clsuite.errors import did_you_mean
from clsuite.metrics import MTIL, Column
from clsuite.records import RunRecord
from clsuite.report.compare import Paired
from clsuite.report.export import by_benchmark, choose_columns
from clsuite.report.format import rounded
from clsuite.report.summary import Figure, ResultTable, summarize

AVERAGE = "average_incremental_accuracy_weighted"
LEVEL = 0.05
"""Largest p-value of the paired test that counts as a difference."""
TESTED, INTERVAL = "*", "\N{DAGGER}"
"""Marks of a value that is worse than the best: by the paired test, or only by the paired interval."""


@dataclass(frozen=True)
class Cell:
    """A figure of a method on a benchmark.

    Attributes:
        figure: The figure.
        seeds: The seeds of its values.
        place: 1 if it is the best of its column, 2 if it is the second; else 0. Bounds have none.
        mark: `TESTED` or `INTERVAL` if it is worse than the best of its column; empty if that may be chance.
    """

    figure: Figure
    seeds: tuple[int, ...]
    place: int = 0
    mark: str = ""


@dataclass(frozen=True)
class CiteRow:
    """A method, with a cell for each column, None where it was not run; `cited` are its papers."""

    method: str
    title: str
    bound: Bound | None
    cited: tuple[Reference, ...]
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class CiteTable:
    """A table of methods on benchmarks.

    Attributes:
        columns: The benchmark and the metric of each column.
        rows: The bounds, then the methods.
        records: The records of each benchmark, of the methods in the table.
    """

    columns: tuple[tuple[str, Column], ...]
    rows: tuple[CiteRow, ...]
    records: Mapping[str, Sequence[RunRecord]]

    @property
    def fewest_seeds(self) -> int:
        """The smallest number of seeds of a cell."""
        return min(len(cell.seeds) for row in self.rows for cell in row.cells if cell)

    @property
    def marks(self) -> set[str]:
        """The marks in it."""
        return {cell.mark for row in self.rows for cell in row.cells if cell and cell.mark}


def make_table(
    records: Sequence[RunRecord], methods: Sequence[str], benchmarks: Sequence[str], columns: Sequence[str]
) -> CiteTable:
    """Make a table.

    Args:
        records: Finished records.
        methods: The methods, by their names or titles, in this order; all by default, the best first.
        benchmarks: The benchmarks, in this order; all by default.
        columns: Names of the metrics; by default the one by which the benchmark is ranked, and the average incremental
            accuracy; of sequences of data sets, Transfer, Avg and Last.

    Raises:
        UserError: If a name is unknown.
    """
    boards = by_benchmark(records)
    chosen = _known("benchmark", benchmarks, {name: name for name in boards})
    boards = {name: boards[name] for name in chosen or boards}
    some = {one.method: one for group in boards.values() for one in group}
    titles = told_apart({method: title_of(method, papers_of(one)) for method, one in some.items()})
    wanted = _known("method", methods, titles)
    kept = {name: [one for one in group if not wanted or one.method in wanted] for name, group in boards.items()}
    kept = {name: group for name, group in kept.items() if group}
    summaries = {name: summarize(group) for name, group in kept.items()}
    shown = [
        (name, column)
        for name, summary in summaries.items()
        for column in choose_columns(summary.columns, columns or _usual(kept[name]))
    ]
    some = {record.method: record for group in kept.values() for record in group}
    streams = {name: _streams(group) for name, group in kept.items()}
    cells = {(where, column.name): _column(summaries[where], column, some, streams[where]) for where, column in shown}
    rows = [
        CiteRow(
            method, titles[method], bound_of(some[method]), tuple(of_method(some[method])),
            tuple(cells[where, column.name].get(method) for where, column in shown),
        )
        for method in wanted or _ordered(some, shown, cells)
    ]  # fmt: skip
    order = {"upper": 0, "lower": 1, None: 2}
    return CiteTable(tuple(shown), tuple(sorted(rows, key=lambda row: order[row.bound])), kept)


def _usual(records: Sequence[RunRecord]) -> Sequence[str]:
    """The columns of a benchmark that papers have."""
    kind = records[0].scenario.kind
    return MTIL if kind == "cross_domain" else [headline_of(kind), AVERAGE]


def _known(kind: str, names: Sequence[str], titles: Mapping[str, str]) -> list[str]:
    """The names that are meant, each once; a name may be a title in any case.

    Raises:
        UserError: If one is unknown.
    """
    by_title = {title.casefold(): name for name, title in titles.items()}
    found = []
    for name in names:
        known = name if name in titles else by_title.get(name.casefold())
        if known is None:
            raise did_you_mean(kind, name, titles)
        found.append(known)
    return list(dict.fromkeys(found))


def _ordered(
    some: Mapping[str, RunRecord],
    shown: Sequence[tuple[str, Column]],
    cells: Mapping[tuple[str, str], Mapping[str, Cell]],
) -> list[str]:
    """Methods by the first column that has them, the best first."""

    def position(method: str) -> tuple[int, float, str]:
        for index, (where, column) in enumerate(shown):
            cell = cells[where, column.name].get(method)
            if cell is not None and cell.figure.mean is not None:
                return index, -cell.figure.mean if column.higher_is_better is not False else cell.figure.mean, method
        return len(shown), 0.0, method

    return sorted(some, key=position)


def _streams(records: Sequence[RunRecord]) -> dict[tuple[str, int], str]:
    """The fingerprint of the stream of each method and seed."""
    return {(record.method, record.seed): record.scenario.fingerprint for record in records}


def _column(
    summary: ResultTable, column: Column, some: Mapping[str, RunRecord], streams: Mapping[tuple[str, int], str]
) -> dict[str, Cell]:
    """The cells of a column by method."""
    cells = {row.method: Cell(row.figures[column.name], row.seeds) for row in summary.rows}
    if column.higher_is_better is None:
        return cells
    sign = 1 if column.higher_is_better else -1
    means = {name: rounded(sign * cell.figure.mean) for name, cell in cells.items()
             if bound_of(some[name]) is None and cell.figure.mean is not None}  # fmt: skip
    levels = sorted({value for value in means.values() if value is not None}, reverse=True)[:2]
    best = [name for name, value in means.items() if value == levels[0]] if levels else []
    for name, value in means.items():
        place = levels.index(value) + 1 if value in levels and len(levels) > 1 else 0
        mark = "" if name in best else _mark(column, (best[0], cells[best[0]]), (name, cells[name]), streams)
        cells[name] = replace(cells[name], place=place, mark=mark)
    return cells


def _mark(
    column: Column, best: tuple[str, Cell], other: tuple[str, Cell], streams: Mapping[tuple[str, int], str]
) -> str:
    """Whether a method is worse than the best one, over the seeds that both have on the same stream."""
    values = [dict(zip(cell.seeds, cell.figure.values, strict=True)) for _, cell in (best, other)]
    pairs = [
        (first, second)
        for seed in sorted(values[0].keys() & values[1].keys())
        if streams[best[0], seed] == streams[other[0], seed]
        and (first := values[0][seed]) is not None
        and (second := values[1][seed]) is not None
    ]
    if len(pairs) < 2:
        return ""
    paired = Paired(column.name, bool(column.higher_is_better), *map(tuple, zip(*pairs, strict=True)))
    mean, half = paired.interval
    if paired.p < LEVEL:
        return TESTED
    return INTERVAL if not math.isnan(half) and abs(mean) > half else ""
