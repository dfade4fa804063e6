"""Training curves: the loss of each step and the values that plugins log, averaged to a few points for each task."""

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
"""Number of values that are copied from the device together: copying each one would wait for a GPU."""
MOST_NAMES = 50
"""Maximum number of curves of a run: names that contain a number could fill the file."""


class TrainingCurves(L.Callback):
    """Records the training curves of a run, and does not influence training.

    The steps of a task are divided into intervals, one for each point. All have the same length, except the last. A
    point is the mean of the values of its interval. Values that are logged outside the steps count for the nearest one.
    """

    def __init__(self, points: int) -> None:
        """Set the maximum number of points of each curve and task; with 0 nothing is recorded."""
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
        """Divide the steps of all rounds of the task into intervals."""
        assert isinstance(pl_module, Learner)
        self._in_steps = True
        if not self._steps:
            steps = pl_module.plan.rounds * int(trainer.estimated_stepping_batches)
            self._width = max(1, math.ceil(steps / max(1, self._points)))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Record the loss of a step."""
        self._take(LOSS, outputs["loss"])
        self._steps += 1

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Assign the values that are logged from now on to the last interval."""
        self._in_steps = False

    def log(self, name: str, value: Any) -> None:
        """Record a value that a plugin logs.

        Raises:
            UserError: If the value is not a single number.
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
            self._add_waiting()

    def _add_waiting(self) -> None:
        """Add the waiting values to the sums of their intervals, in the order in which they were logged."""
        tensors = [value for *_, value in self._waiting if isinstance(value, Tensor)]
        numbers = iter(torch.stack([value.to(tensors[0].device) for value in tensors]).tolist() if tensors else [])
        for name, interval, step, value in self._waiting:
            total, count, _ = self._sums.get((name, interval), (0.0, 0, 0))
            number = next(numbers) if isinstance(value, Tensor) else value
            self._sums[name, interval] = total + number, count + 1, step
        self._waiting = []

    def finish(self) -> None:
        """End the curves of the task."""
        self._add_waiting()
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
        """Restore the curves."""
        self._finished = {
            name: list(zip(*(columns[name].tolist() for name in ("task", "step", "value")), strict=True))
            for name, columns in state_dict.items()
        }
