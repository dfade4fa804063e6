"""What a run records in its journal: each step and each evaluation, once, and nothing of it influences the run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from clsuite.errors import InputWarning
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin
from clsuite.trackers.journal import Row, new_rows
from clsuite.trackers.recorder import JournalRecorder

RUN = {"key": "k", "benchmark": "b", "method": "m", "seed": 0}


class Logs(Plugin):
    """Logs in each step, and draws from the global generator, whose state then decides what is learned."""

    def loss(self, learner: Learner, step: Step) -> torch.Tensor:
        learner.log("a size: x", step.logits.detach().abs().mean())
        return 0.01 * torch.rand(()) * step.logits.sum()


class Stopped(Exception):  # noqa: N818
    """The end of an interrupted run."""


class Stops(L.Callback):
    """Interrupts the run before a batch of its own count, and is no part of a saved state."""

    def __init__(self, at: int | None) -> None:
        self.at, self.batches = at, 0

    def on_train_batch_start(self, *_: Any) -> None:
        self.batches += 1
        if self.batches == self.at:
            raise Stopped


def recorded(stream: Any, path: Path) -> list[Row]:
    """The journal after a stream that was run, or interrupted."""
    stream.listener = JournalRecorder(path, RUN, lambda: None)
    with suppress(Stopped):
        stream.run()
    stream.listener.close()
    with path.open("rb") as opened:
        return list(new_rows(opened))


def of(rows: list[Row], kind: str) -> list[Row]:
    return [row for row in rows if row.kind == kind]


@pytest.mark.slow
def test_steps_and_evaluations_are_those_of_the_run_which_does_not_notice(make_stream: Any, tmp_path: Path) -> None:
    plain, stream = (make_stream(Logs(), epochs=2, schedule="cosine") for _ in range(2))
    plain.run()
    rows = recorded(stream, tmp_path / "seed0.journal")
    assert np.array_equal(plain.matrix.class_incremental, stream.matrix.class_incremental)
    assert plain.curves.curves().keys() == stream.curves.curves().keys()
    assert [entry.final_loss for entry in plain.tasks] == [entry.final_loss for entry in stream.tasks]
    assert rows[0] == Row("run", 0, RUN)
    taken = of(rows, "step")
    total = sum(entry.steps for entry in stream.tasks)
    assert [row.number for row in taken] == list(range(1, total + 1))
    assert [row.values["train/loss"] for row in taken] == pytest.approx(stream.curves.curves()["loss"].value)
    first = [row for row in taken if row.values["train/task"] == 0]
    assert first[0].values["train/lr/group_0"] == 5e-4  # the rate of the first step, and not of the one after it
    assert first[-1].values["train/lr/group_0"] < 5e-5
    assert "log/a size_ x" in taken[-1].values
    assert taken[-1].values["train/gradient_samples"] == sum(entry.gradient_samples for entry in stream.tasks)
    evaluated = of(rows, "task")
    assert [row.number for row in evaluated] == [0, 1, 2, 3]
    assert not any(name.startswith("accuracy") for name in evaluated[0].values)
    counts, last = stream.matrix.counts(), evaluated[-1].values
    shares = [right / n for right, n in zip(counts.class_incremental[-1], counts.n, strict=True)]
    assert [last[f"accuracy/part_{part}"] for part in range(3)] == pytest.approx(shares)
    assert last["accuracy/average"] == pytest.approx(np.mean(shares))
    assert last["task/steps"] == total


@pytest.mark.slow
@pytest.mark.parametrize(("at", "minutes"), [(11, None), (11, 1e-9)])
def test_an_interrupted_run_continues_its_journal(
    make_stream: Any, tmp_path: Path, at: int, minutes: float | None
) -> None:
    whole = recorded(make_stream(epochs=2), tmp_path / "whole.journal")
    path = tmp_path / "seed0.journal"
    for stop in (at, None):
        stream = make_stream(checkpoint=tmp_path / "seed0.ckpt", epochs=2)
        stream.observers = (Stops(stop),)
        stream.checkpoint_minutes = minutes
        rows = recorded(stream, path)
        assert len(rows) < len(whole) if stop else len(rows) == len(whole)
    for row, other in zip(rows, whole, strict=True):
        same = {name for name in other.values if not name.endswith("seconds")}
        assert (row.kind, row.number) == (other.kind, other.number)
        assert {name: row.values[name] for name in same} == {name: other.values[name] for name in same}


def test_a_journal_that_cannot_be_written_costs_a_warning_and_no_run(make_stream: Any, tmp_path: Path) -> None:
    stream = make_stream()
    with pytest.warns(InputWarning, match="trackers receive nothing more: the journal cannot be written") as told:
        stream.listener = JournalRecorder(tmp_path, RUN, lambda: None)  # a folder
    stream.run()
    stream.listener.close()
    assert len(told) == 1
    assert stream.tasks[-1].steps > 0
