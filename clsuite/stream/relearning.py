"""Learns a single task again from the state before it, and evaluates a stored state: what an audit of a run needs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
from numpy.typing import NDArray
from torch import Tensor, is_grad_enabled, nn

from clsuite.learner.learner import Learner
from clsuite.probes.probes import predict_rows
from clsuite.records import TaskEntry
from clsuite.scenarios import Task
from clsuite.stream.checkpoint import load_learner_state
from clsuite.stream.kept_states import FirstLosses, evaluated_state, make_state
from clsuite.stream.loop import Stream
from clsuite.stream.sealed_state import state_digest

IMAGES_TO_A_GRADIENT = 3
"""Number of forward passes that cost as much as one sample with a gradient: a backward pass costs two of them."""


class PassCounter:
    """Counts the images that pass through a network without a gradient.

    Attributes:
        images: Their number so far.
    """

    def __init__(self, backbone: nn.Module) -> None:
        """Count from now on."""
        self.images = 0
        backbone.register_forward_pre_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and not is_grad_enabled():
            self.images += len(inputs[0])


@dataclass(frozen=True)
class Relearned:
    """A task that was learned again.

    Attributes:
        state: Hash of the state after it.
        predictions: The predictions after it, ``[N]`` by protocol.
        entry: Its cost.
    """

    state: str
    predictions: Mapping[str, NDArray[np.integer]]
    entry: TaskEntry


class _EnoughError(Exception):
    """The first steps of the task are done."""


class _StopAfter(L.Callback):
    """Ends a training after some steps, whose losses another callback has recorded before."""

    def __init__(self, steps: int) -> None:
        """Set the number of steps."""
        self._left = steps

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Count a step."""
        self._left -= 1
        if self._left <= 0:
            raise _EnoughError


class RelearningStream(Stream):
    """A stream of which single tasks are learned; each needs a new one, as its learner can be restored once.

    Attributes:
        passes: Counts the forward passes.
    """

    def __post_init__(self) -> None:
        """Count from now on."""
        super().__post_init__()
        self.passes = PassCounter(self.learner.backbone)

    @property
    def cost(self) -> float:
        """The cost so far, in samples with a gradient through the backbone."""
        samples = 0 if self.learner.frozen else self.learner.gradient_samples
        return samples + self.passes.images / IMAGES_TO_A_GRADIENT

    def relearn(self, state: Mapping[str, Any] | None, task: Task) -> Relearned:
        """Learn, evaluate and leave a task.

        Args:
            state: The kept state after the task before; None for the first task.
            task: The task.

        Raises:
            Exception: Any error, if the state does not fit the learner.
        """
        losses = self._restore(state)
        self._learn(task)
        number = task.index + 1
        evaluated = evaluated_state(self.learner, number)
        if task is not self.scenario.tasks[-1]:
            self.learner.leave_task(task)
        after = make_state(self.learner, self.identity, number, evaluated, losses.values)
        rows = {name: getattr(self.matrix, name)[number] for name in ("class_incremental", "task_aware")}
        return Relearned(state_digest(after), rows, self.tasks[0])

    def first_losses(self, state: Mapping[str, Any] | None, task: Task, steps: int) -> list[float]:
        """The losses of the first steps of a task; see `relearn`."""
        losses = self._restore(state)
        self.observers = [*self.observers, _StopAfter(steps)]
        with suppress(_EnoughError):
            self._learn(task)
        return losses.values

    def logits_after(self, state: Mapping[str, Any], rows: NDArray[np.int64]) -> Tensor:
        """Logits ``[len(rows), seen classes]`` of images, by the state that was evaluated after a task.

        Args:
            state: The kept state after the task.
            rows: Indices of the images in the table.

        Raises:
            Exception: Any error, if the state does not fit the learner.
        """
        self._restore({"learner": state["evaluated"] or state["learner"]})
        return predict_rows(self.learner, rows)

    def logits_before(self, rows: NDArray[np.int64]) -> Tensor:
        """Logits of images before any training; see `logits_after`."""
        self._move()
        plain: Learner = self._untrained()
        logits = predict_rows(plain, rows)
        plain.leave_backbone()
        return logits

    def _restore(self, state: Mapping[str, Any] | None) -> FirstLosses:
        """Prepare the learner as it was after a task; returns the recorder of the losses of the next one."""
        self._move()
        self._start()
        if state is not None:
            load_learner_state(self.learner, state["learner"])
            self.learner.to(self.device)
        losses = FirstLosses()
        self.observers = [losses]
        return losses
