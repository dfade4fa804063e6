"""The page of papers' comparisons: its figures are those of `clsuite compare`, and what is not shown has a reason."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from clsuite.metrics import LAST, METRICS
from clsuite.records import read_record
from clsuite.report.compare import compare
from clsuite_docs import comparisons
from clsuite_docs.comparisons import Claim, Family

RECORDS = Path(__file__).parents[2] / "leaderboard" / "records" / "quickstart"


def test_every_row_exists_and_what_is_not_shown_has_a_reason() -> None:
    assert list(comparisons.unexplained()) == []


@pytest.mark.parametrize(
    ("gain", "half", "verdict"),
    [
        (0.02, 0.01, "shown"),
        (0.01, 0.02, "in the mean"),
        (0.0, 0.0, "not shown"),
        (-0.01, 0.02, "not shown"),
        (-0.02, 0.01, "the other way"),
        (0.02, math.nan, "in the mean"),
    ],
)
def test_verdicts(gain: float, half: float, verdict: str) -> None:
    assert comparisons.verdict_of(gain, half) == verdict


def test_the_difference_is_that_of_compare() -> None:
    runs = [
        [read_record(path) for path in (RECORDS / name).glob("*.json") if not path.name.endswith(".rerun.json")]
        for name in ("mos", "adaptformer")
    ]
    paired = next(one for one in compare(*runs).metrics if one.name == METRICS[LAST].label)
    mean, half = paired.interval
    (board, figures, _), *_ = comparisons.of_claim(Claim(first="mos", second="adaptformer"))
    assert board.name == "quickstart"
    assert figures[2] == f"{100 * mean:+.1f} ± {100 * half:.1f}"


def test_forgetting_is_better_where_it_is_less() -> None:
    more, less = (
        Claim(first=a, second=b, by="forgetting") for a, b in (("finetune", "replay"), ("replay", "finetune"))
    )
    found = {board.name: (verdict, other) for (board, *_, verdict), (_, *_, other) in
             zip(comparisons.of_claim(more), comparisons.of_claim(less), strict=True)}  # fmt: skip
    assert list(found.values()).count(("the other way", "shown")) >= 3
    assert "shown" not in {verdict for verdict, _ in found.values()}


def test_a_comparison_without_a_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = (Claim(first="finetune", second="replay"), Claim(first="no_such", second="replay"))
    monkeypatch.setattr(comparisons, "read", lambda: (Family(name="Wrong", claims=claims),))
    told = list(comparisons.unexplained())
    assert told[0].startswith("finetune over replay on ")
    assert told[-1] == "no row: no_such"
