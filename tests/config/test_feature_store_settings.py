"""The switch and the limit of the features that runs share."""

from __future__ import annotations

import pytest

from clsuite.config.feature_store import LIMIT, SWITCH, feature_limit, read_size, shares_features
from clsuite.errors import UserError


def test_features_are_shared_unless_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    assert shares_features()
    monkeypatch.setenv(SWITCH, "0")
    assert not shares_features()


@pytest.mark.parametrize(("text", "size"), [("20GB", 20 * 10**9), ("1.5 mb", 1_500_000), (" 7 B ", 7), ("0b", 0)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "20", "GB", "-1GB", "1e3GB", "20 pounds"])
def test_what_is_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is not a size, such as 500MB or 20GB"):
        read_size(text)
    monkeypatch.setenv(LIMIT, text or "x")
    with pytest.raises(UserError, match=LIMIT):
        feature_limit()


def test_the_limit_is_20_gb_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIMIT, raising=False)
    assert feature_limit() == 20 * 10**9
    monkeypatch.setenv(LIMIT, "3MB")
    assert feature_limit() == 3 * 10**6
