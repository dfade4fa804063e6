"""As many runs at a time as memory carries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clsuite.records import CostEntry, write_record
from clsuite.runner.memory import GPU_PROCESS, PROCESS, Memory, Size, free_memory
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.shared_runs import SharedRuns
from clsuite.runner.spec import load_benchmark

VIT_B = Size(parameters=86_000_000, trained=86_000_000, flops=35_000_000_000, features=768, through_backbone=True)
GIGABYTE = 10**9


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> list[RunPlan]:
    spec, path = load_benchmark("quickstart")
    options = RunOptions(out=tmp_path_factory.mktemp("runs"), methods=("ncm,finetune",), seeds=(0, 1), device="cpu")
    return make_plan(spec, path.parent, options)


def test_the_estimate_of_a_vit_is_of_the_right_size() -> None:
    """Fine-tuning ViT-B/16 in float32 takes some 150 MB for each image of a batch, and 1.4 GB for AdamW."""
    assert 1.1 < (VIT_B.bytes_at(64) - VIT_B.bytes_at(56)) / GIGABYTE < 1.3
    assert 2.3 < VIT_B.bytes_at(0) / GIGABYTE < 2.5
    frozen = replace(VIT_B, trained=10_000, through_backbone=False)
    assert frozen.bytes_at(64) < PROCESS + 1.3 * GIGABYTE


def write_peak(plan: RunPlan, peak: int, **environment: Any) -> None:
    cost = CostEntry(peak_memory_bytes=peak, total_parameters=1, trainable_parameters=1, stored_bytes={},
                     forward_flops_per_image=1, training_flops=1)  # fmt: skip
    write_record(plan.pending.model_copy(update={"cost": cost, "environment": environment}), plan.record_path)


def test_records_of_the_same_method_and_stream_say_what_a_run_takes(plans: list[RunPlan]) -> None:
    first, second = (plan for plan in plans if plan.pending.method == "ncm")
    other = next(plan for plan in plans if plan.pending.method == "finetune")
    assert Memory(None).need(first) == PROCESS
    write_peak(first, 3 * GIGABYTE, device_type="cpu")
    assert Memory(None).need(second) == 3 * GIGABYTE
    assert Memory(None).need(other) == PROCESS
    assert Memory(None, sizes={other.recipe: VIT_B}).need(other) > 2 * GIGABYTE
    write_peak(second, 5 * GIGABYTE, device_type="cuda")  # the peak of a GPU
    assert Memory(None).need(first) == 3 * GIGABYTE
    assert Memory(None, on_gpu=True).need(first) == GPU_PROCESS
    changed = replace(first, pending=first.pending.model_copy(update={"config": {**first.pending.config, "x": 1}}))
    assert Memory(None).need(changed) == PROCESS


def test_a_run_begins_where_there_is_room_and_one_alone_always(plans: list[RunPlan]) -> None:
    small, large = plans[0], next(plan for plan in plans if plan.recipe != plans[0].recipe)
    memory = Memory(4 * GIGABYTE)
    memory._needs = {small.recipe: GIGABYTE, large.recipe: 6 * GIGABYTE}
    assert memory.has_room(large, [])
    assert not memory.has_room(large, [small])
    assert memory.has_room(small, [small, small, small])
    assert not memory.has_room(small, [small] * 4)
    assert Memory(None).has_room(large, [large] * 100)


def test_what_has_no_room_is_left_for_later(plans: list[RunPlan]) -> None:
    with SharedRuns(plans) as runs:
        taken = runs.take(lambda plan: plan.pending.method == plans[1].pending.method)
        assert taken == plans[1]
        assert runs.left == [plan for plan in plans if plan != plans[1]]


def test_free_memory_is_what_the_machine_or_the_container_has_left(tmp_path: Path) -> None:
    meminfo, stated, group = tmp_path / "meminfo", tmp_path / "stated", tmp_path / "group"
    assert free_memory(meminfo, group, stated) is None
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable:   50 kB\n")
    assert free_memory(meminfo, group, stated) == 51200
    stated.write_text("0::/inner\n")
    (group / "inner").mkdir(parents=True)
    (group / "inner" / "memory.max").write_text("max\n")
    (group / "inner" / "memory.current").write_text("10\n")
    assert free_memory(meminfo, group, stated) == 51200
    (group / "inner" / "memory.max").write_text("1010\n")
    assert free_memory(meminfo, group, stated) == 1000
