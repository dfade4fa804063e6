"""What runs take from each other's features is in their records, costs what it had cost, and changes no result."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from clsuite.board.validate.costs import cost_problem
from clsuite.cli.main import main
from clsuite.config.feature_store import LIMIT, SWITCH
from clsuite.data.feature_files import FOLDER, blocks_below
from clsuite.errors import UserError
from clsuite.records import FeaturesEntry, RunRecord, read_predictions, read_record, write_record
from clsuite.report.summary import summarize
from clsuite.runner.execute import execute
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec

ROW_BEFORE = 2 * 4
"""Images of row -1: the test images of the first task, which are asked for again after it."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLSUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(SWITCH, raising=False)
    return tmp_path / "cache" / FOLDER


def planned(out: Path, method: str = "ncm", **options: Any) -> RunPlan:
    content = {
        "name": "mine",
        "dataset": {"name": "digits", "train_per_class": 8, "test_per_class": 4},
        "scenario": {"tasks": 5},
        "seeds": [0],
        "limit_tasks": 2,
        "methods": {"m": method},
    }
    (plan,) = make_plan(BenchmarkSpec.model_validate(content), out, RunOptions(out=out, **options))
    return dataclasses.replace(plan, device="cpu")


def done(plan: RunPlan) -> RunRecord:
    record = execute(plan, lambda event: None)
    assert record.status == "done", record.error
    return read_record(plan.record_path)


def predictions(plan: RunPlan) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in read_predictions(plan.beside(".npz")).items()}


def test_the_second_run_takes_what_the_first_has_computed(tmp_path: Path, cache: Path) -> None:
    plans = [planned(tmp_path / name) for name in "ab"]
    first, second = [done(plan) for plan in plans]
    assert first.features is not None
    assert first.features.images == ROW_BEFORE  # of its own row -1
    assert second.features is not None
    assert second.features.images == ROW_BEFORE + 2 * 2 * (8 + 4)
    assert second.features.training_seconds > 0
    assert second.features.evaluation_seconds > 0
    assert first.counts == second.counts
    assert first.probes == second.probes
    assert first.key == second.key
    assert predictions(plans[0]) == predictions(plans[1])
    assert cost_problem(second) == cost_problem(first) == ""


@pytest.mark.slow
def test_another_method_takes_them_too(tmp_path: Path) -> None:
    done(planned(tmp_path, "ncm"))
    taken = done(planned(tmp_path, "linear_probe")).features
    assert taken is not None
    assert taken.images == ROW_BEFORE + 48


@pytest.mark.slow
@pytest.mark.parametrize("way", ["option", "variable"])
def test_switched_off_nothing_is_taken_or_kept(
    way: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(planned(tmp_path / "a"))
    kept = blocks_below(cache)
    if way == "variable":
        monkeypatch.setenv(SWITCH, "0")
    plan = planned(tmp_path / "b", no_feature_store=way == "option")
    assert plan.pending.key == planned(tmp_path / "a").pending.key
    assert done(plan).features is None
    assert done(dataclasses.replace(planned(tmp_path / "c", "fecam"), shares_features=False)).features is None
    assert len(blocks_below(cache)) == len(kept) > 0


def test_times_count_what_was_taken(tmp_path: Path) -> None:
    plain = done(planned(tmp_path / "a", no_feature_store=True))
    taken = FeaturesEntry(images=5, seconds=600.0, training_seconds=400.0, evaluation_seconds=150.0)
    record = plain.model_copy(update={"features": taken})
    assert record.full_seconds == plain.seconds + 600
    row, before = (summarize([one]).rows[0] for one in (record, plain))
    for name, seconds in (("train_seconds", 400), ("eval_seconds", 150)):
        now, then = row.figures[name].mean, before.figures[name].mean
        assert now is not None
        assert then is not None
        assert now == pytest.approx(then + seconds)


def test_what_cannot_have_been_taken_is_told(tmp_path: Path) -> None:
    plain = done(planned(tmp_path / "a"))
    whole = {"images": 5, "seconds": 6.0, "training_seconds": 4.0, "evaluation_seconds": 2.0}
    told = {
        "": {},
        "not what they had cost": {"seconds": 0.0, "training_seconds": 0.0, "evaluation_seconds": 0.0},
        "not how many": {"images": 0},
        "had cost 1e+09 seconds": {"seconds": 1e9},
        "are more than the whole": {"evaluation_seconds": 2.1},
        "no processor computes features of 9007199254740991 images": {"images": 2**53 - 1},
    }
    for complaint, changes in told.items():
        record = plain.model_copy(update={"features": FeaturesEntry(**{**whole, **changes})})
        assert complaint in cost_problem(record)
        assert bool(complaint) == bool(cost_problem(record))


def test_a_record_is_shown_with_what_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = done(planned(tmp_path / "a"))
    taken = FeaturesEntry(images=48, seconds=1.5, training_seconds=1.0, evaluation_seconds=0.5)
    write_record(record.model_copy(update={"features": taken}), planned(tmp_path / "a").record_path)
    assert main(["show", str(planned(tmp_path / "a").record_path)]) == 0
    assert "and features of 48 images from the store, which had cost 1.5 s" in capsys.readouterr().out


def test_a_limit_that_is_no_size_is_told_before_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, "much")
    with pytest.raises(UserError, match=f"{LIMIT}: 'much' is not a size"):
        planned(tmp_path)
