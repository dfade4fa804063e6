"""Where a method stands on each board, as a strip with all its methods in the units of the SVG drawing."""

from __future__ import annotations

from dataclasses import dataclass

from clsuite.board.model import Benchmark, Board, Row
from clsuite.board.site.axes import LinearAxis
from clsuite.board.site.text import bound_text, value_text

START, END = 12.0, 308.0


@dataclass(frozen=True)
class Standing:
    """A method on one board; `row` is None if the board has no row of it.

    Attributes:
        others: Positions of the other methods.
        bounds: Positions of the bounds, with their texts.
        own: Position of the method.
        ticks: Positions of round accuracies, with their texts.
        text: What the strip shows, in words.
    """

    benchmark: Benchmark
    row: Row | None
    others: list[float]
    bounds: list[tuple[float, str]]
    own: float
    ticks: list[tuple[float, str]]
    text: str


def standings(board: Board, method: str) -> list[Standing]:
    """A method's place on all boards: first those that have it."""
    found = [_standing(benchmark, method) for benchmark in board.benchmarks]
    return sorted(found, key=lambda standing: standing.row is None)


def _standing(benchmark: Benchmark, method: str) -> Standing:
    values = {
        row.method: figure.mean
        for row in benchmark.rows
        if (figure := row.figures.get(benchmark.headline)) is not None and figure.mean is not None
    }
    mine = next((row for row in benchmark.rows if row.method == method and method in values), None)
    if mine is None:
        return Standing(benchmark, None, [], [], 0.0, [], "")
    headline = next(column for column in benchmark.metrics if column.name == benchmark.headline)
    axis = LinearAxis(list(values.values()), START, END, headline)
    places = {name: round(axis.at(value), 1) for name, value in values.items()}
    bounds = [row for row in benchmark.rows if row.bound and row.method in places and row.method != method]
    rivals = [row.method for row in benchmark.rows if row.bound is None and row.method in places]
    shown = {row.method: f"{row.title} {value_text(values[row.method], headline.unit)} % ({bound_text(row)})"
             for row in bounds}  # fmt: skip
    place = f"rank {mine.rank.rank} of {benchmark.ranked}" if mine.rank else bound_text(mine)
    text = f"{benchmark.name}: {headline.label} {value_text(values[method], headline.unit)} %, {place}"
    return Standing(
        benchmark, mine, [places[name] for name in rivals if name != method],
        [(places[row.method], shown[row.method]) for row in bounds], places[method], axis.ticks(),
        "; ".join([text, *shown.values()]),
    )  # fmt: skip
