"""Tiny real runs that keep their states, and submissions that are forged from them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from clsuite.records import (
    RunRecord,
    StateEntry,
    read_predictions,
    read_record,
    rescore,
    row_digest,
    write_predictions,
    write_record,
)
from clsuite.records.state_files import STATES, state_files, state_path
from clsuite.runner.execute import execute
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import load_benchmark
from clsuite.stream.sealed_state import SEAL, read_state, state_digest, write_state

BENCHMARK = """
name: tiny
dataset: {name: digits, train_per_class: 12, test_per_class: 6}
scenario: {kind: class_incremental, tasks: 5, order: given}
backbone: {name: omniglot_vit, weights: bundled, image_size: 32}
training: {epochs: EPOCHS, batch_size: 6, precision: "32", optimizer: {name: adamw, lr: 0.0001, head_lr: 0.0003}}
seeds: [0]
methods: {er: {replay: {capacity: 20}}, plain: finetune, means: ncm, undone: {fpf: {capacity: 20}}}
"""


def plan_of(folder: Path, seed: int, method: str = "er", epochs: int = 4, **options: Any) -> RunPlan:
    """The plan of a run; the order of the classes is the same for all seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.yaml").write_text(BENCHMARK.replace("EPOCHS", str(epochs)))
    spec, path = load_benchmark(str(folder / "tiny.yaml"))
    given = {"device": "cpu", "keep_states": True, "seeds": (seed,), "methods": (method,), **options}
    return make_plan(spec, path.parent, RunOptions(out=folder / "runs", **given))[0]


def run(folder: Path, seed: int, method: str = "er", **options: Any) -> Path:
    """Do a run; returns the path of its record."""
    plan = plan_of(folder, seed, method, **options)
    record = execute(plan, lambda event: None)
    assert record.status == "done", record.error
    return plan.record_path


@contextmanager
def patched(target: str, value: Any) -> Iterator[None]:
    """Other sources than those of the record: what a submitter has changed, and does not say."""
    with mock.patch(target, value):
        yield


@dataclass
class Run:
    """A run that can be forged, and written with counts, key and hashes that fit.

    Attributes:
        path: The file of the record.
        content: The record.
        arrays: The predictions.
        states: The states, by the number of tasks before them.
        keep: Parts that are written as they are, and not made to fit: ``counts``, ``key``, ``states``.
    """

    path: Path
    content: dict[str, Any]
    arrays: dict[str, Any]
    states: dict[int, Any]
    keep: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read a run."""
        states = {}
        for file in state_files(path.with_suffix(STATES)):
            state = read_state(file)
            states[state["task"]] = {name: value for name, value in state.items() if name != SEAL}
        record = read_record(path)
        return cls(path, record.model_dump(mode="json"), dict(read_predictions(path.with_suffix(".npz"))), states)

    def write(self) -> None:
        """Write it so that everything in it fits, except for what is kept."""
        if "counts" not in self.keep:
            self.content["counts"] = rescore(self.arrays).model_dump(mode="json")
        record = RunRecord.model_validate(self.content)
        key = record.key if "key" in self.keep else record.recomputed_key()
        states = self.path.with_suffix(STATES)
        shutil.rmtree(states, ignore_errors=True)
        for number, state in self.states.items():
            if isinstance(state, Mapping):
                self.states[number] = state = {**state, "key": key, "task": number}
                write_state(state, state_path(states, number))
        entries = record.states
        if "states" not in self.keep:
            entries = [
                StateEntry(state=state_digest(state), predictions=row_digest(self.arrays, number))
                for number, state in sorted(self.states.items())
            ]
        changes = {"key": key, "states": entries, "predictions": self.path.with_suffix(".npz").name}
        write_record(record.model_copy(update=changes), self.path)
        write_predictions(self.path.with_suffix(".npz"), self.arrays)

    def take(self, other: Run) -> None:
        """Become another run, except for the seed and all else that the key is made of."""
        for name in ("tasks", "cost", "seconds", "environment"):
            self.content[name] = other.content[name]
        self.arrays, self.states = {**other.arrays}, dict(other.states)


def copied(runs: Path, target: Path) -> list[Run]:
    """A copy of some runs; files are replaced and never changed, so that links to them are enough."""
    shutil.copytree(runs, target, copy_function=os.link)
    return [Run.read(path) for path in sorted(target.rglob("seed*.json"))]


def right(array: Any, labels: Any, share: float, seed: int = 0) -> Any:
    """Predictions of which a share of the wrong ones were made right."""
    wrong = np.flatnonzero((array != labels) & (array >= 0))
    random = np.random.RandomState(seed)
    chosen = random.permutation(wrong)[: max(1, round(share * len(wrong)))]
    array = array.copy()
    array[chosen] = labels[chosen]
    return array
