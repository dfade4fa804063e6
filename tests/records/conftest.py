"""A finished record to write, read and edit."""

from __future__ import annotations

import pytest

from clsuite.records import CostEntry, CountsEntry, PluginEntry, RunRecord, ScenarioEntry, TaskEntry


@pytest.fixture
def record() -> RunRecord:
    """Two tasks of two classes each, learned by replay; its key is the one of its content."""
    draft = RunRecord(
        key="",
        benchmark="tiny",
        method="replay",
        seed=3,
        status="done",
        config={"dataset": {"name": "digits", "path": None}, "training": {"epochs": 1, "optimizer": {"lr": 0.001}}},
        plugins=[PluginEntry(name="replay", args={"capacity": 10}, source="ab" * 32, distribution="clsuite 0.1.0")],
        scenario=ScenarioEntry(
            kind="class_incremental",
            fingerprint="cd" * 32,
            task_fingerprints=["01" * 32, "02" * 32],
            task_names=["Käse, 夏", "b, c"],
            classes=["Käse", "夏", "b", "c"],
        ),
        counts=CountsEntry(class_incremental=[[0, 0], [4, 0], [2, 5]], task_aware=[[2, 3], [5, 3], [4, 6]], n=[5, 6]),
        tasks=[
            TaskEntry(train_seconds=1.5, eval_seconds=0.25, steps=4, gradient_samples=64, final_loss=0.125),
            TaskEntry(train_seconds=1.0, eval_seconds=0.5, steps=4, gradient_samples=96, final_loss=None),
        ],
        cost=CostEntry(
            peak_memory_bytes=1,
            total_parameters=20,
            trainable_parameters=10,
            stored_bytes={"exemplars": 640},
            forward_flops_per_image=100,
            training_flops=48000,
        ),
        environment={"torch": "2.8", "precision": "32-true"},
        seconds=3.25,
        predictions="seed3.npz",
    )
    return draft.model_copy(update={"key": draft.recomputed_key()})
