"""The states of a run after each task, kept so that others can learn any task again from the state before it.

The hash of each state is in the record, so that a run commits to all of them before anybody knows which task will be
learned again. It covers names, types, shapes and values of all entries, and not the bytes of the file.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from numpy.typing import NDArray

from clsuite.learner.learner import Learner
from clsuite.plugin.base import overriding
from clsuite.records import StateEntry, row_digest
from clsuite.records.state_files import state_path
from clsuite.stream.checkpoint import learner_state
from clsuite.stream.sealed_state import state_digest, write_state

FIRST_STEPS = 10
"""Number of steps at the beginning of a task whose losses are kept, so that a part of a task can be learned again."""


def make_state(learner: Learner, key: str, task: int, evaluated: Mapping[str, Any] | None, losses: list[float]) -> Any:
    """The state after a task.

    Args:
        learner: The learner, which has left the task unless it was the last one.
        key: Key of the run.
        task: The number of tasks so far.
        evaluated: The state that was evaluated, if leaving the task has changed it.
        losses: The losses of the first steps of the task.
    """
    state = learner_state(learner, task)
    return {"key": key, "task": task, "learner": state, "evaluated": evaluated, "losses": losses}


def evaluated_state(learner: Learner, task: int) -> dict[str, Any] | None:
    """A copy of the state that was evaluated; None if leaving the task does not change it."""
    changes = overriding(learner.plugins, "on_task_exit") and task < len(learner.scenario.tasks)
    return copy.deepcopy(learner_state(learner, task)) if changes else None


class FirstLosses(L.Callback):
    """Records the losses of the first steps of a task, and does not influence training.

    Attributes:
        values: The losses so far.
    """

    def __init__(self) -> None:
        """Begin without losses."""
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Record the loss of a step."""
        if len(self.values) < FIRST_STEPS:
            self.values.append(float(outputs["loss"]))


class KeptStates:
    """Writes the state after each task, and the commitments to them.

    Attributes:
        entries: The commitments so far.
        losses: The losses of the first steps of the current task.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """Write into a folder, which is created if it does not exist.

        Args:
            folder: The folder.
            key: Key of the run.
        """
        self._folder, self._key = folder, key
        self.entries: list[StateEntry] = []
        self._evaluated: dict[str, Any] | None = None
        self.losses = FirstLosses()

    def begin(self) -> FirstLosses:
        """Begin a task; returns the callback of its training."""
        self.losses.values = []
        return self.losses

    def remember_evaluated(self, learner: Learner, task: int) -> None:
        """Copy the state that was evaluated, if leaving the task changes it."""
        self._evaluated = evaluated_state(learner, task)

    def keep(self, learner: Learner, task: int, predictions: Mapping[str, NDArray[np.integer]]) -> None:
        """Write the state after a task that the learner has left, and commit to it.

        Args:
            learner: The learner.
            task: The number of tasks so far.
            predictions: The predictions so far, by protocol.

        Raises:
            UserError: If it cannot be written.
        """
        state = make_state(learner, self._key, task, self._evaluated, self.losses.values)
        self._evaluated = None
        write_state(state, state_path(self._folder, task))
        self.entries = self.entries[: task - 1]
        self.entries.append(StateEntry(state=state_digest(state), predictions=row_digest(predictions, task)))

    def state_dict(self) -> dict[str, Any]:
        """The commitments so far."""
        return {"entries": [entry.model_dump() for entry in self.entries]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the commitments."""
        self.entries = [StateEntry(**entry) for entry in state_dict["entries"]]
