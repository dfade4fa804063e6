"""Searches over real runs: never on a test row, the same each time, resumed, and told of in the final record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from clsuite.cli.main import main
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.records import RunRecord, TuningEntry, read_record
from clsuite.runner import streams
from clsuite.runner.execute import execute
from clsuite.runner.methods import MethodSpec
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan
from clsuite.runner.spec import BenchmarkSpec
from clsuite.scenarios import Scenario
from clsuite.scenarios.validation import judged_on_validation
from clsuite.tuning.search import Search

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"name": "digits", "train_per_class": 20, "test_per_class": 8},
    "scenario": {"tasks": 5},
    "training": {"optimizer": {"lr": 0.0005, "head_lr": 0.003}, "precision": "32"},
    "seeds": [0],
    "methods": {"mine": {"replay": {"capacity": 10}}},
}


def search(**changes: Any) -> Search:
    given: dict[str, Any] = {
        "spec": BenchmarkSpec.model_validate(TINY),
        "folder": Path(),
        "name": "mine",
        "method": MethodSpec.model_validate(TINY["methods"]["mine"]),
        "space": "capacity=[2, 20], lr=loguniform(1e-5, 1e-2)",
        "trials": 3,
        "tasks": 2,
        "seed": 0,
        "metric": "final_accuracy_macro",
        "validation": 0.2,
        "sampler_seed": 0,
    }
    return Search(**{**given, **changes})


def do_here(plans: Sequence[RunPlan]) -> list[RunRecord]:
    return [execute(replace(plan, device="cpu"), lambda event: None) for plan in plans]


def run(out: Path, **changes: Any) -> TuningEntry:
    return search(**changes).run(RunOptions(out=out, device="cpu"), do_here, lambda *_: None)


def without_seconds(entry: TuningEntry) -> dict[str, Any]:
    content = entry.model_dump()
    return {**content, "trials": [{**trial, "seconds": 0} for trial in content["trials"]]}


def poisoned(table: ImageTable) -> ImageTable:
    """Every test image is noise of another class."""
    random = np.random.RandomState(1)
    labels, images = table.labels.copy(), np.array(table.images)
    labels[table.is_test] = random.permutation(labels[table.is_test])
    images[table.is_test] = random.randint(0, 256, images[table.is_test].shape)
    return replace(table, labels=labels, images=images)


@pytest.mark.slow
def test_a_search_never_sees_a_test_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = run(tmp_path / "clean")
    load, plan = streams.load_table, search().final_plans(RunOptions(out=tmp_path), clean)[0]
    final = do_here([plan])[0]
    monkeypatch.setattr(streams, "load_table", lambda *given, **more: poisoned(load(*given, **more)))
    spoilt = run(tmp_path / "spoilt")
    assert without_seconds(spoilt) == without_seconds(clean)
    names = [sorted(path.name for path in (tmp_path / place).rglob("*.json")) for place in ("clean", "spoilt")]
    assert names[0] == names[1]
    assert len(names[0]) == 3
    again = do_here(search().final_plans(RunOptions(out=tmp_path / "x"), clean))[0]
    assert again.counts != final.counts, "the poison would not be seen, so the test would prove nothing"


def test_the_stream_of_a_search_has_no_test_rows(scenario: Scenario) -> None:
    kept = judged_on_validation(scenario.first(2))
    rows = np.concatenate([part for task in kept.tasks for part in (task.train, task.validation, task.test)])
    assert not scenario.table.is_test[rows].any()
    assert set(np.unique(kept.labels[scenario.table.is_test])) == {-1}
    assert set(np.unique(kept.labels[rows])) == {0, 1, 2, 3}
    for task, before in zip(kept.tasks, scenario.tasks, strict=False):
        np.testing.assert_array_equal(task.test, before.validation)
        assert not set(task.train) & set(task.test)
        assert task.fingerprint != before.fingerprint
    bare = replace(scenario, tasks=tuple(replace(task, validation=task.test[:0]) for task in scenario.tasks))
    with pytest.raises(UserError, match="has no validation images: hold a larger share out"):
        judged_on_validation(bare)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "capacity=[0]"}, "replay: capacity is 0, but must be at least 1"),
        ({"space": "capacity=['x']"}, "argument 'capacity' of plugin 'replay' is 'x'"),
        ({"space": "capacity=[5]", "metric": "backward_transfer", "tasks": 1}, "is undefined for 1 tasks"),
        ({"method": MethodSpec.model_validate({"replay": {"batch_size": [1, 2]}})}, "is a grid: write its values into"),
    ],
)
def test_what_cannot_be_searched(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path, **changes)


def test_of_trials_that_all_fail_the_first_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "breaks.py").write_text(
        "from clsuite.plugin import Plugin\n\n\nclass Breaks(Plugin):\n"
        "    def __init__(self, alpha: float = 0.1) -> None:\n        super().__init__()\n\n"
        "    def loss(self, learner, step):\n        return undefined_name\n"
    )
    method = MethodSpec.model_validate(str(tmp_path / "breaks.py"))
    with pytest.raises(UserError, match=r"none of the 2 trials finished: NameError: .*undefined_name"):
        run(tmp_path, method=method, space="alpha=[0.1, 0.2]")


def test_an_option_of_the_command_line_is_not_searched_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'epochs' is in --space and is given as an option too"):
        search(space="epochs=[1, 2]").run(RunOptions(out=tmp_path, training={"epochs": 1}), do_here, lambda *_: None)


@pytest.mark.slow
def test_the_command_searches_resumes_and_tells_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = {**TINY, "methods": {"finetune": "finetune"}, "more_methods": TINY["methods"]}
    Path("tiny.yaml").write_text(yaml.safe_dump(spec))
    given = ["tune", "tiny.yaml", "--method", "mine", "--space", "capacity=[2, 20]", "--tasks", "2", "--device", "cpu"]
    given += ["--limit-tasks", "2", "--validation", "0.2", "--jobs", "2"]
    assert main(given) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^\[1 of 2\] capacity=2: \d+\.\d$", shown, re.MULTILINE)
    assert "chosen: capacity=20 (final acc. (macro), in % on validation images)" in shown
    (path,) = Path("runs/tiny").rglob("seed0-*.json")
    record = read_record(path)
    assert (record.method, record.plugins[0].args["capacity"]) == ("mine (tuned)", 20)
    assert record.key == record.recomputed_key()
    tuning = record.tuning
    assert tuning is not None
    assert (tuning.sampler, tuning.tasks, tuning.validation, tuning.chosen) == ("grid", 2, 0.2, {"capacity": 20})
    trials = [read_record(trial) for trial in Path("runs/tuning/tiny").rglob("seed0-*.json")]
    assert tuning.gradient_samples == sum(task.gradient_samples for trial in trials for task in trial.tasks)
    assert {score.score for score in tuning.trials} == {trial.main_counts.accuracy[-1].mean() for trial in trials}
    assert all(trial.tuning is None and "tuning" not in trial.model_dump() for trial in trials)
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("seed*.json")}
    path.unlink()
    assert main(given) == 0
    kept = {path: path.stat().st_mtime_ns for path in Path("runs/tuning").rglob("seed*.json")}
    assert kept.items() <= before.items()
    assert without_seconds(read_record(path).tuning or tuning) == without_seconds(tuning)
    capsys.readouterr()
    assert main(["show", str(path)]) == 0
    assert "tuned by grid on the validation parts (0.2 of the training images) of the first 2 tasks" in (
        capsys.readouterr().out
    )
    assert main(["table", "runs"]) == 0
    assert capsys.readouterr().out.count("mine") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--trials", "0"], "--trials is 0, but must be at least 1"),
        (["--tasks", "99"], "the first 99 tasks are requested, but the stream has 5"),
        (["--limit-tasks", "2"], "--tasks is 3, but the final runs learn 2 tasks only: give --tasks 2"),
        (["--seeds", "-1"], "--seeds is '-1', but a seed must not be negative"),
        (["--validation", "1.5"], "--validation is 1.5, but must be less than 1"),
        (["--metric", "accuracy"], "unknown metric 'accuracy'"),
        (["--method", "repaly"], "unknown plugin 'repaly'. Did you mean 'replay'"),
    ],
)
def test_bad_options_are_one_line(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "quickstart", "--method", "replay", "--space", "capacity=[1]", *given]) == 2
    assert message in capsys.readouterr().err


def test_a_search_takes_no_more_tasks_than_the_benchmark_learns(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["tune", "cifar100_scratch", "--method", "replay", "--space", "capacity=[1]", "--tasks", "6"]
    assert main(given) == 2
    assert "--tasks is 6, but the final runs learn 5 tasks only: give --tasks 5" in capsys.readouterr().err
