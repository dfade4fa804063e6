"""A method that uses all of the plugin API keeps all promises: it is resumed, saved, and composes."""

from __future__ import annotations

import pytest
from every_hook import EveryHook

from clsuite.conformance import check_method


@pytest.mark.slow
def test_nothing_is_found() -> None:
    report = check_method([EveryHook])
    assert not report.findings, "\n".join(map(str, report.findings))
    assert [outcome.check for outcome in report.outcomes if outcome.skipped] == ["with pet"]  # both bring modules
