"""Coordinates of the points of a Pareto plot, in the units of the SVG drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from clsuite.board.model import Benchmark, Row
from clsuite.board.site.addresses import address
from clsuite.board.site.columns import retentions
from clsuite.board.site.text import value_text
from clsuite.metrics import PRIMARY, Column

LEFT, RIGHT, TOP, BOTTOM = 40.0, 338.0, 16.0, 198.0
COSTS = {
    "trainable_parameters": "trained parameters", "stored_bytes": "stored bytes",
    "gradient_samples": "gradient samples", "train_seconds": "training time (s)",
}  # fmt: skip
CROWDED = 300
RADIUS = 5.5
Box = tuple[float, float, float, float]
"""Left, right, top and bottom."""
NOT_ORDERED = "Measured on several kinds of machine: no row is marked as best, and rows with several are left out."


@dataclass(frozen=True)
class Point:
    """A method in a plot: `front` if no other is better in both, `label` is its name if there is room for it.

    `at` is the position of the name; `anchor` says whether that is its left or its right end.
    """

    x: float
    y: float
    name: str
    row: str
    text: str
    front: bool
    label: str = ""
    anchor: str = "start"
    at: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Plot:
    """A plot of accuracy against a cost or a retention probe."""

    title: str
    axis: str
    points: list[Point] = field(default_factory=list)
    line: str = ""
    x_ticks: list[tuple[float, str]] = field(default_factory=list)
    y_ticks: list[tuple[float, str]] = field(default_factory=list)
    summary: str = ""


def pareto_plots(benchmark: Benchmark) -> list[Plot]:
    """A plot of accuracy against each cost and each retention probe that rows have."""
    known = {column.name: column for column in benchmark.metrics}
    chosen = [(known[name], title, False) for name, title in COSTS.items() if name in known]
    chosen += [(column, column.label, True) for column in retentions(benchmark.metrics)]
    plots = [_plot(benchmark.rows, column, title, more) for column, title, more in chosen]
    return [plot for plot in plots if plot is not None]


def _plot(rows: Sequence[Row], column: Column, title: str, more_is_better: bool) -> Plot | None:
    known = [(row, x, y) for row in rows if (x := _mean(row, column.name)) is not None
             and (y := _mean(row, PRIMARY)) is not None and (more_is_better or x >= 0)]  # fmt: skip
    if not known:
        return None
    xs, ys = [x for _, x, _ in known], [100 * y for _, _, y in known]
    across = _Linear(xs, LEFT, RIGHT, column) if more_is_better else _Log(xs, column)
    up = _Linear([y / 100 for y in ys], BOTTOM, TOP, None)
    ordered = column.higher_is_better is not None  # times of several kinds of machine are not
    front = _front([(-x if more_is_better else x, -y) for _, x, y in known]) if ordered else set()
    points = [
        Point(
            round(across.at(x), 1), round(up.at(y), 1), row.method, f"row-{address(row.method)}",
            f"{row.method}: {100 * y:.1f} % at {value_text(x, column.unit)}", index in front,
        )
        for index, (row, x, y) in enumerate(known)
    ]  # fmt: skip
    best = sorted((point for point in points if point.front), key=lambda point: (point.x, -point.y))
    names = ", ".join(point.text for point in best[:12]) + (" and others" if len(best) > 12 else "")
    return Plot(
        title=f"Accuracy against {title}", axis=title, points=_labeled(_thinned(points)),
        line=_stairs(best, more_is_better),
        x_ticks=across.ticks(), y_ticks=up.ticks(),
        summary=f"On the Pareto front: {names}." if ordered else NOT_ORDERED,
    )  # fmt: skip


def _mean(row: Row, name: str) -> float | None:
    figure = row.figures.get(name)
    return figure.mean if figure else None


def _front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Indices of the points on the Pareto front; lower is better in both coordinates."""
    front, best = set(), math.inf
    previous: tuple[float, float] | None = None
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        if points[index][1] < best or points[index] == previous:
            front.add(index)
            best, previous = points[index][1], points[index]
    return front


def _stairs(front: Sequence[Point], more_is_better: bool) -> str:
    """The Pareto front as a staircase line, from left to right."""
    corners = []
    for last, point in zip([None, *front], front, strict=False):
        if last is not None:
            corners.append((last.x, point.y) if more_is_better else (point.x, last.y))
        corners.append((point.x, point.y))
    return " ".join(f"{x:g},{y:g}" for x, y in corners)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """One of each group of overlapping points, if there are many; points of the front are kept, on top."""
    if len(points) > CROWDED:
        cells = {(int(point.x / 4), int(point.y / 4)): point for point in reversed(points) if not point.front}
        kept = list(reversed(cells.values())) + [point for point in points if point.front]
        return kept
    return sorted(points, key=lambda point: point.front)


def _labeled(points: Sequence[Point]) -> list[Point]:
    """Points of the front with names, if these overlap no other name and no point of the front."""
    taken: list[Box] = []
    out = []
    for point in points:
        found = _place(point, points, taken) if point.front else None
        if found:
            taken.append(found[0])
            point = found[1]
        out.append(point)
    return out


def _place(point: Point, points: Sequence[Point], taken: Sequence[Box]) -> tuple[Box, Point] | None:
    """The place of a point's name that covers the fewest other points; None if there is no room."""
    name = point.name if len(point.name) <= 18 else f"{point.name[:17]}…"
    width = 6.2 * len(name) + 3
    choices: list[tuple[int, int, Box, Point]] = []
    for shift, anchor in ((5.0, "start"), (-5.0, "end")):
        for drop in (-6.0, 13.0):
            x, y = round(point.x + shift, 1), round(point.y + drop, 1)
            left = x if anchor == "start" else x - width
            box = (left, left + width, y - 10, y + 3)
            if left < LEFT - 4 or left + width > RIGHT + 12 or y > BOTTOM or any(_meet(box, other) for other in taken):
                continue
            covered = [other for other in points if other != point and _meet(box, _around(other))]
            if not any(other.front for other in covered):
                choices.append((len(covered), len(choices), box, replace(point, label=name, anchor=anchor, at=(x, y))))
    return min(choices, key=lambda choice: choice[:2])[2:] if choices else None


def _around(point: Point) -> Box:
    return point.x - RADIUS, point.x + RADIUS, point.y - RADIUS, point.y + RADIUS


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


class _Linear:
    """A linear axis with round ticks."""

    def __init__(self, values: Sequence[float], start: float, end: float, column: Column | None) -> None:
        self.column, self.start, self.end = column, start, end
        low, high = min(values), max(values)
        spread = max(high - low, 0.02)
        power = 10.0 ** math.floor(math.log10(spread / 3))
        self.step = next(power * times for times in (1, 2, 5, 10) if spread / (power * times) <= 5)
        self.low = math.floor(low / self.step + 1e-9) * self.step
        self.high = max(math.ceil(high / self.step - 1e-9) * self.step, self.low + self.step)

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        number = round((self.high - self.low) / self.step)
        share = self.column is None or self.column.unit == "share"
        values = [self.low + index * self.step for index in range(number + 1)]
        return [(round(self.at(value), 1), f"{100 * value:.3g}" if share else f"{value:.3g}") for value in values]


class _Log:
    """A logarithmic axis with powers of ten; zero has a place of its own at the left."""

    def __init__(self, values: Sequence[float], column: Column) -> None:
        positive = [value for value in values if value > 0]
        self.column, self.zero = column, len(positive) < len(values)
        self.low = math.floor(math.log10(min(positive, default=1)))
        self.high = max(math.ceil(math.log10(max(positive, default=10))), self.low + 1)
        self.start = LEFT + (44 if self.zero else 0)

    def at(self, value: float) -> float:
        if value <= 0:
            return LEFT + 12
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (RIGHT - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        every = max(1, math.ceil((self.high - self.low) / 5))
        powers = range(self.low, self.high + 1, every)
        zero = [(LEFT + 12, "0")] if self.zero else []
        unit = self.column.unit
        return zero + [(round(self.at(10.0**p), 1), f"{10.0**p:g}" if unit == "seconds" else value_text(10.0**p, unit))
                       for p in powers]  # fmt: skip
