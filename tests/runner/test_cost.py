"""What a record says a method trained: counted while it is trained, not after the last task."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from clsuite.records import CostEntry, RunRecord
from clsuite.records.canonical import canonical_json
from clsuite.runner.execute import execute
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import BenchmarkSpec

WIDTH, PARAMETERS = 192, 930_240
HEAD = WIDTH + 1
"""Parameters of the head for a class."""


def record_of(tmp_path: Path, method: Any) -> RunRecord:
    spec = BenchmarkSpec.model_validate(
        {
            "name": "mine",
            "dataset": {"name": "digits", "train_per_class": 8, "test_per_class": 4},
            "scenario": {"tasks": 5},
            "training": {"precision": "32"},
            "seeds": [0],
            "limit_tasks": 3,
            "methods": {"m": method},
        }
    )
    (plan,) = make_plan(spec, tmp_path, RunOptions(out=tmp_path))
    record = execute(dataclasses.replace(plan, device="cpu"), lambda event: None)
    assert record.status == "done", record.error
    return record


def cost_of(record: RunRecord) -> CostEntry:
    assert record.cost is not None
    return record.cost


def test_a_module_of_the_first_session_was_trained(tmp_path: Path) -> None:
    record = record_of(tmp_path, [{"first_session": {"kind": "adapter", "size": 4}}, "ncm"])
    module = cost_of(record).stored_bytes["modules"] // 4
    cosine_head = 2 * (HEAD - 1) + 1  # two classes without a bias, and one scale
    assert module > 0
    assert [task.trainable_parameters for task in record.tasks] == [module + cosine_head, 0, 0]
    assert [task.frozen for task in record.tasks] == [False, True, True]
    assert cost_of(record).trainable_parameters == module + cosine_head
    assert record.tasks[0].gradient_samples > 0
    assert cost_of(record).training_flops == (
        3 * cost_of(record).forward_flops_per_image * record.tasks[0].gradient_samples
    )


@pytest.mark.parametrize(
    ("method", "trained", "through"),
    [("ncm", 0, False), ("linear_probe", 6 * HEAD, False), ("finetune", PARAMETERS + 6 * HEAD, True)],
)
def test_heads_alone_send_nothing_through_the_backbone(
    tmp_path: Path, method: str, trained: int, through: bool
) -> None:
    record = record_of(tmp_path, method)
    assert cost_of(record).trainable_parameters == trained
    assert (cost_of(record).training_flops > 0) is through


def test_a_task_of_an_older_record_has_neither_number(tmp_path: Path) -> None:
    task = record_of(tmp_path, "ncm").tasks[0]
    older = task.model_copy(update={"trainable_parameters": None, "frozen": None})
    assert "trainable_parameters" in canonical_json(task.model_dump())
    assert set(task.model_dump()) - set(older.model_dump()) == {"trainable_parameters", "frozen"}
