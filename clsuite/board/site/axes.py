"""The axes of a plot: positions in the SVG drawing, and round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clsuite.board.site.text import value_text
from clsuite.metrics import Column

LEFT, RIGHT, TOP, BOTTOM = 40.0, 338.0, 16.0, 198.0


class LinearAxis:
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
        """The position of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and texts of the ticks."""
        number = round((self.high - self.low) / self.step)
        share = self.column is None or self.column.unit == "share"
        values = [self.low + index * self.step for index in range(number + 1)]
        return [(round(self.at(value), 1), f"{100 * value:.3g}" if share else f"{value:.3g}") for value in values]


class LogAxis:
    """A logarithmic axis with powers of ten; zero has a place of its own at the left."""

    def __init__(self, values: Sequence[float], column: Column) -> None:
        positive = [value for value in values if value > 0]
        self.column, self.zero = column, len(positive) < len(values)
        self.low = math.floor(math.log10(min(positive, default=1)))
        self.high = max(math.ceil(math.log10(max(positive, default=10))), self.low + 1)
        self.start = LEFT + (44 if self.zero else 0)

    def at(self, value: float) -> float:
        """The position of a value."""
        if value <= 0:
            return LEFT + 12
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (RIGHT - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and texts of the ticks."""
        every = max(1, math.ceil((self.high - self.low) / 5))
        powers = range(self.low, self.high + 1, every)
        zero = [(LEFT + 12, "0")] if self.zero else []
        unit = self.column.unit
        return zero + [(round(self.at(10.0**p), 1), f"{10.0**p:g}" if unit == "seconds" else value_text(10.0**p, unit))
                       for p in powers]  # fmt: skip
