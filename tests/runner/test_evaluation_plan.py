"""Evaluation within tasks in a benchmark: in the run key where it is asked for, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clsuite.records import read_record
from clsuite.runner.execute import execute
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"name": "digits", "train_per_class": 16, "test_per_class": 8},
    "scenario": {"tasks": 5},
    "training": {"epochs": 1, "batch_size": 8},
    "methods": {"finetune": "finetune"},
}


def plan(out: Path, eval_every: int | None = None, **changes: Any) -> RunPlan:
    spec = BenchmarkSpec.model_validate({**TINY, **changes})
    return make_plan(spec, out, RunOptions(out=out, seeds=[0], limit_tasks=2, eval_every=eval_every))[0]


def test_the_key_knows_it_only_where_it_is_asked_for(tmp_path: Path) -> None:
    plain, given = plan(tmp_path), plan(tmp_path, evaluation={"every": 5, "samples": 20})
    assert "evaluation" not in plain.pending.config
    assert given.pending.config["evaluation"] == {"every": 5, "samples": 20}
    keys = {
        one.pending.key
        for one in (plain, given, plan(tmp_path, evaluation={"every": 6, "samples": 20}), plan(tmp_path, 5))
    }
    assert len(keys) == 4
    assert plan(tmp_path, 5, evaluation={"every": 9, "samples": 20}).pending.key == given.pending.key
    assert plan(tmp_path, 5).pending.config["evaluation"] == {"every": 5, "samples": 200}


def test_a_run_leaves_its_curves(tmp_path: Path) -> None:
    plain, given = plan(tmp_path), plan(tmp_path, 2)
    for one in (plain, given):
        assert execute(one, lambda event: None).status == "done"
    record, without = read_record(given.record_path), read_record(plain.record_path)
    assert record.within_task is not None
    assert [curve.steps for curve in record.within_task.tasks] == [[0, 1, 2, 4]] * 2
    assert record.counts == without.counts
    assert "within_task" not in plain.record_path.read_text()
    assert record.key == record.recomputed_key()
