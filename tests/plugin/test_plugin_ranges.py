"""Numbers that a plugin is given lie in their range, or one line says what may stand there."""

from __future__ import annotations

from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.plugin import check_range


@pytest.mark.parametrize(
    ("bounds", "value"),
    [
        ({"at_least": 0}, 0),
        ({"above": 0}, 1e-300),
        ({"at_least": 0, "at_most": 1}, 1),
        ({"at_least": 0, "below": 1}, 0.999),
        ({"at_least": 1}, None),
        ({}, -5),
    ],
)
def test_what_lies_in_the_range(bounds: dict[str, Any], value: Any) -> None:
    assert check_range("mine", **bounds, number=value) is None


@pytest.mark.parametrize(
    ("bounds", "value", "words"),
    [
        ({"at_least": 0}, -1, "mine: number is -1, but must be at least 0$"),
        ({"above": 0}, 0.0, "mine: number is 0.0, but must be above 0$"),
        ({"at_least": 0, "below": 1}, 1, "mine: number is 1, but must be at least 0 and below 1$"),
        ({"above": 0, "at_most": 1}, 1.5, "mine: number is 1.5, but must be above 0 and at most 1$"),
        ({"at_least": 0}, float("nan"), "mine: number is nan, but must be a finite number$"),
        ({"at_least": 0}, float("inf"), "mine: number is inf, but must be a finite number$"),
        ({}, float("inf"), "mine: number is inf, but must be a finite number$"),
    ],
)
def test_what_lies_outside_is_named(bounds: dict[str, Any], value: float, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_range("mine", **bounds, before=None, number=value)
