"""Records of three methods and three seeds on one stream, the same for everyone."""

from __future__ import annotations

import pytest
from made_records import make_record

from clsuite.records import RunRecord


@pytest.fixture(autouse=True)
def _records_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of these tests are made up, without predictions; whether records are true is tested on records of runs."""
    for module in ("clsuite.report.gather", "clsuite.cli.show"):
        monkeypatch.setattr(f"{module}.why_untrue", lambda record, path: "")


@pytest.fixture
def records() -> list[RunRecord]:
    return [make_record(method, seed) for seed in range(3) for method in ("finetune", "replay", "joint")]


@pytest.fixture
def domain_record() -> RunRecord:
    return make_record("replay", 0, "domain_incremental")
