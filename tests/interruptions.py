"""Runs that are interrupted within a task and taken up again, and all that a run ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest

from clsuite.stream.loop import Stream
from clsuite.stream.task_checkpoint import task_path

AT_ONCE = 1e-9
"""Minutes that have always passed."""


class StoppedError(Exception):
    """Ends a training."""


class Stops(L.Callback):
    """Ends a training before a step of a task; counts the steps of each task."""

    def __init__(self, task: int = -1, step: int = -1) -> None:
        self.task, self.step = task, step
        self.steps: dict[int, int] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (pl_module.task.index, trainer.global_step) == (self.task, self.step):
            raise StoppedError
        self.steps[pl_module.task.index] = self.steps.get(pl_module.task.index, 0) + 1


def bits(stream: Stream) -> list[Any]:
    """All that a run ends with."""
    tasks = [entry.model_dump(exclude={"train_seconds", "eval_seconds"}) for entry in stream.tasks]
    curves = stream.curves.curves()
    return [
        stream.matrix.counts(), tasks, {name: curve.value.tolist() for name, curve in curves.items()},
        stream.within_task.entry() if stream.within_task else None,
        {name: value.tolist() for name, value in stream.learner.state_dict().items()},
    ]  # fmt: skip


def interrupted(make: Any, path: Path, task: int, step: int, method: Any, **training: Any) -> Stream:
    """A stream that was interrupted before a step of a task, and the one that took it up, which has ended."""
    first = make(*method(), checkpoint=path, **training)
    first.checkpoint_minutes, first.observers = AT_ONCE, [Stops(task, step)]
    with pytest.raises(StoppedError):
        first.run()
    assert task_path(path).exists()
    again: Stream = make(*method(), checkpoint=path, **training)
    again.checkpoint_minutes, again.observers = AT_ONCE, [Stops()]
    again.run()
    assert not task_path(path).exists()
    return again
