"""Records that are made up, without runs."""

from __future__ import annotations

import numpy as np

from clsuite.records import CostEntry, CountsEntry, PluginEntry, RunRecord, ScenarioEntry, TaskEntry

SIZES = [20, 30, 10]


def make_record(method: str, seed: int, kind: str = "class_incremental") -> RunRecord:
    random = np.random.RandomState([seed, *method.encode()])
    level = {"joint": 0.9, "replay": 0.7}.get(method, 0.3)
    rows = [[0, 0, 0]] + [[int(size * min(1.0, level + 0.1 * random.rand())) for size in SIZES] for _ in range(3)]
    counts = np.array(rows)
    if kind == "class_incremental":
        counts[1:][np.triu_indices(3, 1)] = 0
    return RunRecord(
        key=f"{method}-{seed}",
        benchmark="tiny",
        method=method,
        seed=seed,
        status="done",
        config={},
        plugins=[PluginEntry(name=method, args={}, source="", distribution="clsuite 0.1.0")],
        scenario=ScenarioEntry(
            kind=kind, fingerprint=str(seed), task_fingerprints=["1", "2", "3"], task_names=["a", "b", "c"], classes=[]
        ),
        counts=CountsEntry(class_incremental=counts.tolist(), task_aware=[SIZES] * 4, n=SIZES),
        tasks=[
            TaskEntry(train_seconds=1.5, eval_seconds=0.5, steps=2, gradient_samples=100, final_loss=0.1) for _ in SIZES
        ],
        cost=CostEntry(
            peak_memory_bytes=1,
            total_parameters=930_000,
            trainable_parameters=930_000,
            stored_bytes={"all data": 61_440} if method == "joint" else {},
            forward_flops_per_image=1,
            training_flops=1,
        ),
    )
