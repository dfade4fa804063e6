"""Styles for plots of many methods: intervals for a few, colors and names for the best, gray for the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clsuite.metrics import mean_interval

BANDS_UP_TO = 8
"""Largest number of methods for which intervals are drawn: more of them would hide the lines."""
NAMED_UP_TO = 10
"""Largest number of methods with a color and a name: there are ten colors."""
MARKERS = "os^Dv<>P*X"
GRAY = "0.75"
Limits = tuple[float, float]
PERCENT: Limits = (0.0, 100.0)
POINTS: Limits = (-100.0, 100.0)
FROM_ZERO: Limits = (0.0, math.inf)
ANY: Limits = (-math.inf, math.inf)


@dataclass(frozen=True)
class MethodStyles:
    """The style of each method in a plot.

    Attributes:
        order: The methods, best first.
    """

    order: Sequence[str]

    @property
    def named(self) -> Sequence[str]:
        """The methods with a color and a name."""
        return self.order[:NAMED_UP_TO]

    @property
    def others(self) -> Sequence[str]:
        """The methods that are drawn in gray."""
        return self.order[NAMED_UP_TO:]

    @property
    def bands(self) -> bool:
        """Whether intervals are drawn."""
        return len(self.order) <= BANDS_UP_TO

    def titled(self, title: str, by: str = "") -> str:
        """A title that says what is omitted, and by which quantity the best methods are selected."""
        if self.bands:
            return title
        number = len(self.order)
        best = f"in color the best {len(self.named)} of {number} methods{by}"
        which = best if self.others else f"{number} methods"
        return f"{title}\n{which}, without intervals"

    def draw(self, axes: Axes, method: str, curves: Sequence[Any], limits: Limits, start: int = 1) -> Line2D:
        """Draw the mean of a method's curves over the tasks, and its 95 % interval if intervals are drawn.

        Args:
            axes: Where to draw.
            method: One of `order`.
            curves: A curve for each seed; those with another length than the first are omitted. `nan` values are
                ignored in the mean; if all are `nan`, there is no point.
            limits: Smallest and largest possible value, which bound the intervals.
            start: Number of tasks learned at the first point.
        """
        alike = np.array([curve for curve in curves if len(curve) == len(curves[0])], dtype=float)
        defined = np.flatnonzero(~np.isnan(alike).all(axis=0))
        steps = defined + start
        columns = [values[~np.isnan(values)].tolist() for values in alike.T[defined]]
        summary = np.array([mean_interval(values) for values in columns]).reshape(-1, 2)
        position = list(self.order).index(method)
        if position >= NAMED_UP_TO:
            (line,) = axes.plot(steps, summary[:, 0], color=GRAY, linewidth=0.7, zorder=1.5)
            return line
        style: dict[str, Any] = {"color": f"C{position}", "zorder": 3 - position / NAMED_UP_TO}
        (line,) = axes.plot(steps, summary[:, 0], marker=MARKERS[position], markersize=4, **style)
        if self.bands and len(alike) > 1:
            low, high = (summary[:, 0] + sign * summary[:, 1] for sign in (-1, 1))
            axes.fill_between(steps, np.clip(low, *limits), np.clip(high, *limits), color=style["color"], alpha=0.15,
                              linewidth=0)  # fmt: skip
        return line

    def legend(self, figure: Figure, lines: Mapping[str, Line2D]) -> None:
        """Add the names of all colored lines, after a blank, because matplotlib omits names that begin with ``_``."""
        shown = [name for name in self.named if name in lines]
        labels = [f" {name}" if name.startswith("_") else name for name in shown]
        handles = [lines[name] for name in shown]
        gray = [lines[name] for name in self.others if name in lines]
        if gray:
            handles, labels = [*handles, gray[0]], [*labels, f"{len(gray)} others"]
        figure.legend(handles, labels, loc="outside right upper", frameon=False)


def best_first(last: Mapping[str, float]) -> list[str]:
    """Methods sorted by a quantity of which more is better, then by name; those without a value come last."""
    return sorted(last, key=lambda method: (math.isnan(last[method]), -last[method], method))
