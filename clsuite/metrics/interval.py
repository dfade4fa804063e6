"""Intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % Student-t interval over independent seeds.

    Args:
        values: One value per seed.

    Returns:
        The mean, and the half-width (``nan`` for fewer than two seeds).

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return float(array.mean()), float("nan")
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(array) - 1, 0.975))
    return float(array.mean()), quantile * float(array.std(ddof=1)) / len(array) ** 0.5
