"""The curves of training: the loss of every step, and what plugins log, thinned by averages to some points a task."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from clsuite.errors import InputWarning, UserError, warn_of
from clsuite.learner.learner import Learner
from clsuite.records.curves import LOSS, TrainingCurve

AT_ONCE = 64
"""Values that are taken from the device together: a look at each would wait for a GPU."""
MOST_NAMES = 50
"""Curves of a run, so that names with a number in them fill no file."""


class TrainingCurves(L.Callback):
    """Keeps the curves of a run; training never notices.

    A task is cut into as many stretches of steps as there are points, of the same length but the last; a point is the
    mean of what came in its stretch. What is logged outside the steps goes to the nearest stretch.
    """

    def __init__(self, points: int) -> None:
        """Keep at most so many points of each curve and task; with 0 nothing is kept."""
        self._points = points
        self._finished: dict[str, list[tuple[int, int, float]]] = {}
        self._begin(0)

    def _begin(self, task: int) -> None:
        self._task, self._steps, self._width, self._in_steps = task, 0, 1, False
        self._sums: dict[tuple[str, int], tuple[float, int, int]] = {}
        self._waiting: list[tuple[str, int, int, Tensor | float]] = []

    def begin(self, task: int) -> None:
        """Begin the curves of a task."""
        self._begin(task)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Divide the steps to come, those of all rounds of the task."""
        assert isinstance(pl_module, Learner)
        self._in_steps = True
        if not self._steps:
            steps = pl_module.plan.rounds * int(trainer.estimated_stepping_batches)
            self._width = max(1, math.ceil(steps / max(1, self._points)))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Take the loss of a step."""
        self._take(LOSS, outputs["loss"])
        self._steps += 1

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What is logged from now on belongs to the last stretch."""
        self._in_steps = False

    def log(self, name: str, value: Any) -> None:
        """Take what a plugin logs.

        Raises:
            UserError: If it is not a single number.
        """
        if isinstance(value, Tensor | np.ndarray | np.generic) and math.prod(value.shape) != 1:
            raise UserError(f"learner.log('{name}', ...) takes one number, not an array of {tuple(value.shape)}")
        if not isinstance(value, Tensor):
            try:
                value = float(value)
            except (TypeError, ValueError) as error:
                raise UserError(f"learner.log('{name}', ...) takes a number, not {type(value).__name__}") from error
        self._take(f"{name} (logged)" if name == LOSS else name, value)

    def _take(self, name: str, value: Tensor | float) -> None:
        if not self._points:
            return
        if name not in self._finished and len(self._finished) >= MOST_NAMES:
            warn_of(f"more than {MOST_NAMES} names are logged: '{name}' and others are not kept", InputWarning)
            return
        self._finished.setdefault(name, [])
        step = self._steps if self._in_steps else max(self._steps - 1, 0)
        if isinstance(value, Tensor):
            value = value.detach().reshape(()).to(torch.float32)
        self._waiting.append((name, step // self._width, step + 1, value))
        if len(self._waiting) >= AT_ONCE:
            self._add_up()

    def _add_up(self) -> None:
        """Add what waits to the sums of its stretches, in the order in which it came."""
        tensors = [value for *_, value in self._waiting if isinstance(value, Tensor)]
        numbers = iter(torch.stack([value.to(tensors[0].device) for value in tensors]).tolist() if tensors else [])
        for name, stretch, step, value in self._waiting:
            total, count, _ = self._sums.get((name, stretch), (0.0, 0, 0))
            number = next(numbers) if isinstance(value, Tensor) else value
            self._sums[name, stretch] = total + number, count + 1, step
        self._waiting = []

    def finish(self) -> None:
        """End the curves of the task."""
        self._add_up()
        for (name, _), (total, count, step) in sorted(self._sums.items()):
            self._finished[name].append((self._task, step, total / count))
        self._sums = {}

    def curves(self) -> dict[str, TrainingCurve]:
        """The curves of the finished tasks, by name; the loss comes first."""
        names = sorted(self._finished, key=lambda name: (name != LOSS, name))
        return {
            name: TrainingCurve(
                np.array([task for task, _, _ in self._finished[name]], dtype=np.int64),
                np.array([step for _, step, _ in self._finished[name]], dtype=np.int64),
                np.array([value for _, _, value in self._finished[name]], dtype=np.float64),
            )
            for name in names
        }

    def state_dict(self) -> dict[str, Any]:
        """The curves of the finished tasks."""
        return {
            name: {column: torch.from_numpy(getattr(curve, column)) for column in ("task", "step", "value")}
            for name, curve in self.curves().items()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the curves back."""
        self._finished = {
            name: list(zip(*(columns[name].tolist() for name in ("task", "step", "value")), strict=True))
            for name, columns in state_dict.items()
        }
