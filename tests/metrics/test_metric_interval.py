"""The interval over seeds, with SciPy as the oracle."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clsuite.metrics import mean_interval

values = st.floats(-100, 100, allow_nan=False)


@given(st.lists(values, min_size=2, max_size=12).filter(lambda drawn: max(drawn) - min(drawn) > 1e-3))
def test_equals_scipy(drawn: list[float]) -> None:
    mean, half = mean_interval(drawn)
    low, high = stats.t.interval(0.95, len(drawn) - 1, loc=sum(drawn) / len(drawn), scale=stats.sem(drawn))
    assert mean - half == pytest.approx(low, abs=1e-6)
    assert mean + half == pytest.approx(high, abs=1e-6)


def test_three_seeds_by_hand() -> None:
    """Standard deviation 1, and the 97.5 % quantile of t with two degrees of freedom is 4.302653."""
    mean, half = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_equal_seeds_have_no_width() -> None:
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.0)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    mean, half = mean_interval([0.25])
    assert mean == 0.25
    assert math.isnan(half)


def test_no_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])


def test_one_undefined_seed_makes_the_mean_undefined() -> None:
    assert math.isnan(mean_interval([0.5, float("nan")])[0])
