"""The first tasks of a stream only: a benchmark says so, or the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"name": "digits", "train_per_class": 2, "test_per_class": 2},
    "scenario": {"tasks": 5},
    "methods": {"finetune": "finetune"},
}


def plan(out: Path, given: int | None = None, **changes: Any) -> RunPlan:
    spec = BenchmarkSpec.model_validate({**TINY, **changes})
    return make_plan(spec, out, RunOptions(out=out, seeds=[0], limit_tasks=given))[0]


def test_a_benchmark_says_how_many(tmp_path: Path) -> None:
    written, given = plan(tmp_path, limit_tasks=3), plan(tmp_path, 3)
    assert len(written.pending.scenario.task_names) == 3
    assert written.pending.key == given.pending.key != plan(tmp_path).pending.key


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    assert plan(tmp_path, 2, limit_tasks=3).pending.key == plan(tmp_path, 2).pending.key


def test_more_tasks_than_the_stream_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the first 6 tasks are requested, but the stream has 5"):
        plan(tmp_path, limit_tasks=6)
