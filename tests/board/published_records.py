"""Finished records with predictions, made without a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from clsuite.board.index import Entry, digest_of, index_bytes, read_index
from clsuite.board.layout import Leaderboard
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import find_plugin
from clsuite.records import (
    CostEntry,
    PluginEntry,
    RunRecord,
    ScenarioEntry,
    TaskEntry,
    rescore,
    write_predictions,
    write_record,
)  # fmt: skip

TASKS, PER_TASK = 3, 8
ENVIRONMENT = {
    "python": "3.11.7", "system": "Linux", "packages": {"torch": "2.5.1"}, "device": "X", "device_type": "cpu",
    "precision": "32-true", "threads": 1, "commit": None, "dirty": None, "backbone_sha256": None,
    "normalization": {"mean": [0.5] * 3, "std": [0.5] * 3},
}  # fmt: skip
"""What every run tells of where it was made."""


def predictions(seed: int, right: float) -> dict[str, np.ndarray[Any, Any]]:
    """Three tasks of two classes, eight test images each, of which a share is predicted right."""
    random = np.random.RandomState([seed, int(1000 * right)])
    labels = np.random.RandomState(seed).permutation(np.arange(2 * TASKS).repeat(PER_TASK // 2)).astype(np.int16)
    task = (labels // 2).astype(np.int16)
    chosen = np.where(random.rand(TASKS + 1, len(labels)) < right, labels, (labels + 1) % (2 * TASKS))
    seen = np.arange(TASKS + 1)[:, None] > task
    shown = np.where(seen, chosen, -1).astype(np.int16)
    return {"class_incremental": shown, "task_aware": chosen.astype(np.int16), "labels": labels, "task": task}


def make_record(method: str, seed: int, right: float = 0.7, **changes: Any) -> RunRecord:
    """A record of one of our plugins; `changes` are made before its key."""
    info, source = find_plugin("ncm")
    arguments = resolve_arguments("ncm", source, {})
    entry = PluginEntry(name="ncm", args=arguments, source=source.sha256, distribution=info.distribution)
    backbone = {"name": "vit", "image_size": 32, "weights": "random", "sha256": None}
    draft = RunRecord(
        key="", benchmark="tiny", method=method, seed=seed, status="done", plugins=[entry],
        config={
            "dataset": {"name": "d"}, "scenario": {"kind": "class_incremental"}, "limit_tasks": None,
            "backbone": backbone, "training": {"right": right},
        },
        scenario=ScenarioEntry(
            kind="class_incremental", fingerprint=f"f{seed}", task_fingerprints=["1", "2", "3"],
            task_names=["a", "b", "c"], classes=[*"abcdef"],
        ),
        counts=rescore(predictions(seed, right)),
        tasks=[TaskEntry(train_seconds=1.5, eval_seconds=0.5, steps=2, gradient_samples=9, final_loss=0.1,
                          trainable_parameters=3, frozen=False)] * TASKS,
        cost=CostEntry(
            peak_memory_bytes=99, total_parameters=9, trainable_parameters=3, stored_bytes={"prototypes": 24},
            forward_flops_per_image=1, training_flops=81,
        ),
        environment=dict(ENVIRONMENT), seconds=7.2,
    ).model_copy(update=changes)  # fmt: skip
    return draft.model_copy(update={"key": draft.recomputed_key()})


def write_run(folder: Path, method: str, seed: int, right: float = 0.7, **changes: Any) -> Path:
    """Write a record as a run leaves it; returns its path."""
    record = make_record(method, seed, right, **changes)
    path = folder / "tiny" / method / f"seed{seed}-{record.key[:12]}.json"
    write_record(record.model_copy(update={"predictions": path.with_suffix(".npz").name}), path)
    write_predictions(path.with_suffix(".npz"), predictions(seed, right))
    return path


def edit(path: Path, change: Any) -> None:
    """Change a record's content in place, whatever its key then says."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def registered(board: Path, *records: Path) -> None:
    """Put published records into the index as they lie there, as if they had been added so."""
    rows = read_index(Leaderboard(board))
    for path in records:
        content = json.loads(path.read_text())
        digests = {part: digest_of(path, part) for part in ("record", "predictions", "rerun")}
        rows[f"{content['benchmark']}/{content['method']}/{content['seed']}"] = Entry(key=content["key"], **digests)
    (board / "rows.json").write_bytes(index_bytes(rows))
