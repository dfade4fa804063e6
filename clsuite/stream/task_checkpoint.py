"""Checkpoints within a task: everything that the rest of the task depends on is saved every few minutes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from clsuite.data.batch import BatchLoader
from clsuite.data.table import ImageTable
from clsuite.errors import InputWarning, UserError, warn_of
from clsuite.learner.learner import Learner
from clsuite.private_api import gathers_gradients
from clsuite.scenarios import Scenario, Task
from clsuite.stream import checkpoint
from clsuite.stream.clock import Clock
from clsuite.stream.evaluation import AccuracyMatrix
from clsuite.stream.object_state import ObjectStates, UnsavableError

CONSTANT = (Scenario, Task, ImageTable, Learner, L.Trainer, AccuracyMatrix, Clock)
"""Types whose objects do not change during a task."""
MINUTE = 60


_ASKED: list[Callable[[], None]] = []


def ask_to_save(then: Callable[[], None]) -> None:
    """Ask the training of this process to save after the current batch, if it saves within tasks.

    Args:
        then: Called when the checkpoint is saved.
    """
    _ASKED.append(then)


def task_path(path: Path) -> Path:
    """The file of the checkpoint within a task, beside the checkpoint of the task boundary."""
    return path.with_suffix(".task.ckpt")


class TaskCheckpoint(L.Callback):
    """Saves the state of a training and resumes from it, without an influence on the training."""

    def __init__(
        self,
        path: Path,
        minutes: float | None,
        identity: str,
        learner: Learner,
        recorders: Mapping[str, Any],
        before_saving: Callable[[], None] | None = None,
    ) -> None:
        """Prepare for a task that has begun and is not trained yet.

        Args:
            path: The file.
            minutes: Minutes between two checkpoints; None saves none, and resumes from an existing one.
            identity: Key of the run and the task; checkpoints of others are ignored.
            learner: The learner.
            recorders: Other objects that change during training, by name.
            before_saving: Called before each checkpoint is saved.
        """
        self._path, self._identity, self._learner = path, identity, learner
        self._before_saving = before_saving
        self._every = None if minutes is None else MINUTE * minutes
        roots = {f"plugin {number}": plugin for number, plugin in enumerate(learner.plugins)}
        parts = {name: getattr(learner, name) for name in ("backbone", "head", "plugin_modules", "optimizer_policy")}
        self._roots = {**parts, **roots, **recorders}
        self._begun = self._last = time.monotonic()
        self._before = 0.0
        self._states: ObjectStates | None = None
        self._found: dict[str, Any] | None = None

    def resume_rounds(self) -> int:
        """Return the round to begin with; if it is not the first, restore the state that it began with.

        Raises:
            UnfitStateError: If the saved state does not fit.
        """
        found = checkpoint.load(self._path, "The task begins again")
        if found is None or found.get("identity") != self._identity:
            return 0
        self._found = found
        number = int(found.get("round", 0))
        if number:
            try:
                ObjectStates(self._roots, CONSTANT).load(found["objects"])
            except Exception as error:  # a state of other objects may raise any error
                raise UnfitStateError(error) from error
            self._learner.earlier_steps = found["earlier_steps"]
            self._learner.plan = replace(self._learner.plan, rounds=found["rounds"])
        return number

    def begin(self, trainer: L.Trainer, loader: BatchLoader) -> None:
        """Begin a round of the task, or continue it where it was saved."""
        state, self._found = self._found, None
        if state is None:
            loader.begin_at(0, 0, lambda: self._ready(trainer, None))
            return
        trainer.fit_loop.load_state_dict(state["loops"])
        loader.begin_at(state["epoch"], state["batch"], lambda: self._ready(trainer, state))

    @property
    def seconds_before(self) -> float:
        """Seconds of training before the state from which the task was resumed."""
        return self._before

    def _ready(self, trainer: L.Trainer, state: dict[str, Any] | None) -> None:
        """Record the objects right before the first batch, and restore the saved state."""
        first = self._states is None
        if first and (self._every is not None or state is not None):
            self._states = ObjectStates(self._roots, CONSTANT)
        if state is not None:
            self._restore(trainer, state)
        self._last = time.monotonic()
        self._begun = self._last if first else self._begun

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time; at the last batch of an epoch, the next batch saves."""
        waits = trainer.is_last_batch or gathers_gradients(trainer)
        if self._every is None or waits or not (_ASKED or time.monotonic() - self._last >= self._every):
            return
        if self._before_saving is not None:
            self._before_saving()
        try:
            checkpoint.save(self._state(trainer, batch_idx), self._path)
        except UnsavableError as error:
            warn_of(f"the run cannot be saved within a task: {error}. It is saved only between tasks", InputWarning)
            self._every = None
        except UserError as error:
            warn_of(f"{error}. The run continues, but cannot be resumed here.", InputWarning)
        self._last = time.monotonic()
        if _ASKED:
            _ASKED[0]()

    def _state(self, trainer: L.Trainer, batch_idx: int) -> dict[str, Any]:
        assert self._states is not None
        learner, scaler = self._learner, getattr(trainer.precision_plugin, "scaler", None)
        return {
            "identity": self._identity,
            "round": learner.plan.round,
            "rounds": learner.plan.rounds,
            "earlier_steps": learner.earlier_steps,
            "epoch": trainer.current_epoch,
            "batch": batch_idx + 1,
            "loops": trainer.fit_loop.state_dict(),
            "optimizers": [one.state_dict() for one in trainer.optimizers],
            "schedules": [one.scheduler.state_dict() for one in trainer.lr_scheduler_configs],
            "scaler": scaler.state_dict() if scaler is not None else None,
            "objects": self._states.save(),
            "gradients": {name: one.grad for name, one in learner.named_parameters() if one.grad is not None},
            "gradient_samples": learner.gradient_samples,
            "own_loops": learner.own_loops,
            "own_trained": learner.own_trained,
            "augment": learner._augment_generator.get_state(),
            "generators": _generators(),
            "seconds": self._before + time.monotonic() - self._begun,
        }

    def _restore(self, trainer: L.Trainer, state: dict[str, Any]) -> None:
        """Restore a saved state.

        Raises:
            UnfitStateError: If it does not fit.
        """
        try:
            assert self._states is not None
            self._states.load(state["objects"])
            for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            for config, saved in zip(trainer.lr_scheduler_configs, state["schedules"], strict=True):
                config.scheduler.load_state_dict(saved)
            if state["scaler"] is not None:
                trainer.precision_plugin.scaler.load_state_dict(state["scaler"])  # type: ignore[attr-defined]
            for name, parameter in self._learner.named_parameters():
                gradient = state["gradients"].get(name)
                parameter.grad = None if gradient is None else gradient.to(parameter.device)
            self._learner.gradient_samples = state["gradient_samples"]
            self._learner.own_loops = state["own_loops"]
            self._learner.own_trained = max(self._learner.own_trained, state["own_trained"])
            self._learner._augment_generator.set_state(state["augment"])
            _set_generators(state["generators"])
            self._before = state["seconds"]
        except Exception as error:  # a state of other objects may raise any error
            raise UnfitStateError(error) from error


class UnfitStateError(Exception):
    """An undamaged state from which this training cannot continue.

    Attributes:
        reason: The error that loading it raised.
    """

    def __init__(self, reason: Exception) -> None:
        """Use the reason as the message."""
        super().__init__(f"{type(reason).__name__}: {reason}")
        self.reason = reason


def _generators() -> dict[str, Any]:
    """The state of the global random number generators."""
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": random.getstate(),
    }


def _set_generators(state: Mapping[str, Any]) -> None:
    kind, keys, *rest = state["numpy"]
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
