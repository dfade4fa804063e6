"""Coordinates of the points of a Pareto plot, in the units of the SVG drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from clsuite.board.model import Benchmark, Row
from clsuite.board.site.addresses import address
from clsuite.board.site.axes import BOTTOM, LEFT, RIGHT, TOP, LinearAxis, LogAxis
from clsuite.board.site.columns import FORGETTING, retentions
from clsuite.board.site.text import bound_text, unit_text, value_text
from clsuite.metrics import Column

COSTS = {
    "trainable_parameters": "trained parameters", "stored_bytes": "stored bytes",
    "gradient_samples": "gradient samples", "train_seconds": "training time (s)",
}  # fmt: skip
TRANSFER = "mtil_transfer"
CROWDED = 300
RADIUS = 5.5
LINE_HEIGHT = 11.0
COVERED = 4
"""Largest number of points under which a name may lie."""
LETTER = 6.2
"""Width of a letter of a name."""
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
class Line:
    """The accuracy of a bound as a line in a plot; `label` is its name if there is room for it.

    `at` is the position of the name; `anchor` says whether that is its left or its right end.
    """

    y: float
    text: str
    label: str
    row: str
    at: tuple[float, float]
    anchor: str

    @property
    def box(self) -> Box:
        """The place of its name."""
        width = LETTER * len(self.label)
        left = self.at[0] if self.anchor == "start" else self.at[0] - width
        return left, left + width, self.at[1] - LINE_HEIGHT + 2, self.at[1] + 3


@dataclass(frozen=True)
class Plot:
    """A plot of accuracy against a cost, forgetting or a retention probe.

    Attributes:
        accuracy: Label of the accuracy.
        best: The points of the Pareto front, the most accurate first.
        bounds: The lines of the bounds, the highest first.
        better: The end of the horizontal axis that is better, ``left`` or ``right``.
    """

    title: str
    axis: str
    points: list[Point] = field(default_factory=list)
    line: str = ""
    x_ticks: list[tuple[float, str]] = field(default_factory=list)
    y_ticks: list[tuple[float, str]] = field(default_factory=list)
    summary: str = ""
    accuracy: str = ""
    best: list[Point] = field(default_factory=list)
    bounds: list[Line] = field(default_factory=list)
    better: str = "left"


def main_plot(benchmark: Benchmark) -> Plot | None:
    """The plot at the top of a board; None if no method has two figures to plot.

    It shows accuracy against what is kept of the pre-training, or against forgetting if the board has no such probe; of
    sequences of data sets, Last against Transfer.
    """
    known = {column.name: column for column in benchmark.metrics}
    if benchmark.kind == "cross_domain" and TRANSFER in known:
        return _plot(benchmark, known[TRANSFER], "accuracy before learning (Transfer)", True)
    for column in retentions(benchmark.metrics)[:1]:
        plot = _plot(benchmark, column, f"what is kept of the pre-training ({column.label})", True)
        if plot is not None:
            return plot
    return _plot(benchmark, known[FORGETTING], "forgetting", False) if FORGETTING in known else None


def pareto_plots(benchmark: Benchmark) -> list[Plot]:
    """A plot of accuracy against each cost, and against each retention probe after the first."""
    known = {column.name: column for column in benchmark.metrics}
    chosen = [(known[name], title, False) for name, title in COSTS.items() if name in known]
    chosen += [(column, column.label, True) for column in retentions(benchmark.metrics)[1:]]
    plots = [_plot(benchmark, column, title, more) for column, title, more in chosen]
    return [plot for plot in plots if plot is not None]


def _plot(benchmark: Benchmark, column: Column, title: str, more_is_better: bool) -> Plot | None:
    headline = next(metric for metric in benchmark.metrics if metric.name == benchmark.headline)
    known = [(row, x, y) for row in benchmark.rows if row.bound is None
             and (x := _mean(row, column.name)) is not None and (y := _mean(row, headline.name)) is not None
             and (more_is_better or not column.is_cost or x >= 0)]  # fmt: skip
    if not known:
        return None
    bounds = [(row, y) for row in benchmark.rows if row.bound and (y := _mean(row, headline.name)) is not None]
    xs = [x for _, x, _ in known]
    across = LogAxis(xs, column) if column.is_cost else LinearAxis(xs, LEFT, RIGHT, column)
    up = LinearAxis([y for _, _, y in known] + [y for _, y in bounds], BOTTOM, TOP, headline)
    ordered = column.higher_is_better is not None  # times of several kinds of machine are not
    front = _front([(-x if more_is_better else x, -100 * y) for _, x, y in known]) if ordered else set()
    points = [
        Point(
            round(across.at(x), 1), round(up.at(y), 1), row.title, f"row-{address(row.method)}",
            f"{row.title}: {100 * y:.1f} % at {value_text(x, column.unit)}{' %' * (column.unit == 'share')}",
            index in front,
        )
        for index, (row, x, y) in enumerate(known)
    ]  # fmt: skip
    best = sorted((point for point in points if point.front), key=lambda point: (point.x, -point.y))
    lines = _lines(bounds, up, points)
    return Plot(
        title=f"Accuracy against {title}", axis=f"{title} {unit_text(column)}".strip(),
        points=_labeled(_thinned(points), [line.box for line in lines if line.label]),
        line=_stairs(best, more_is_better), x_ticks=across.ticks(), y_ticks=up.ticks(),
        summary=_summary(best, ordered), accuracy=headline.label,
        best=sorted(best, key=lambda point: point.y), bounds=lines, better="right" if more_is_better else "left",
    )  # fmt: skip


def _summary(best: Sequence[Point], ordered: bool) -> str:
    names = ", ".join(point.text for point in best[:12]) + (" and others" if len(best) > 12 else "")
    return f"On the Pareto front: {names}." if ordered else NOT_ORDERED


def _lines(bounds: Sequence[tuple[Row, float]], up: LinearAxis, points: Sequence[Point]) -> list[Line]:
    """The lines of the bounds, named where there are fewest points; of bounds at the same height, one is named."""
    lines: list[Line] = []
    for row, y in sorted(bounds, key=lambda bound: len(bound[0].method)):
        place, text = round(up.at(y), 1), f"{row.title}: {100 * y:.1f} % ({bound_text(row)})"
        named = all(abs(line.y - place) > LINE_HEIGHT for line in lines if line.label)
        label, target = row.title if named else "", f"row-{address(row.method)}"
        choices = [
            Line(place, text, label, target, (x, round(place + drop, 1)), anchor)
            for drop in (-3.0, LINE_HEIGHT)
            if place + drop < BOTTOM
            for x, anchor in ((LEFT + 3, "start"), (RIGHT - 3, "end"))
        ]
        lines.append(min(choices, key=lambda line: sum(_meet(line.box, _around(point)) for point in points)))
    return sorted(lines, key=lambda line: line.y)


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


def _labeled(points: Sequence[Point], occupied: Sequence[Box]) -> list[Point]:
    """Points of the front with names, if these overlap no other name and no point of the front."""
    taken = list(occupied)
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
    width = LETTER * len(name) + 3
    choices: list[tuple[int, int, Box, Point]] = []
    for shift, anchor in ((5.0, "start"), (-5.0, "end")):
        for drop in (-6.0, 13.0):
            x, y = round(point.x + shift, 1), round(point.y + drop, 1)
            left = x if anchor == "start" else x - width
            box = (left, left + width, y - 10, y + 3)
            if left < LEFT - 4 or left + width > RIGHT + 12 or y > BOTTOM or any(_meet(box, other) for other in taken):
                continue
            covered = [other for other in points if other != point and _meet(box, _around(other))]
            if len(covered) <= COVERED and not any(other.front for other in covered):
                choices.append((len(covered), len(choices), box, replace(point, label=name, anchor=anchor, at=(x, y))))
    return min(choices, key=lambda choice: choice[:2])[2:] if choices else None


def _around(point: Point) -> Box:
    return point.x - RADIUS, point.x + RADIUS, point.y - RADIUS, point.y + RADIUS


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
