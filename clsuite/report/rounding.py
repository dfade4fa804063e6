"""Figures as they are shown, the same on every machine."""

from __future__ import annotations

import math


def rounded(value: float) -> float | None:
    """Nine digits, so that the last bits of another machine's arithmetic do not show; None for what is not defined.

    What is left of a difference of equal numbers (1e-17) is zero.
    """
    return float(f"{round(value, 12):.9g}") + 0.0 if math.isfinite(value) else None
