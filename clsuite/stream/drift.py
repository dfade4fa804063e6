"""Measures how far the parameters of a learner move during training, without an influence on it."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor

from clsuite.learner.learner import Learner
from clsuite.metrics.sensitivity import Move, moves_of

Snapshot = dict[str, Tensor]


class ParameterDrift(L.Callback):
    """Measures the distances between consecutive epochs of a task, and between the last epochs of consecutive tasks.

    Parameters that are frozen at the later moment, or did not exist at the earlier one (a head's new classes), are left
    out.

    Attributes:
        moves: The distances so far.
    """

    def __init__(self) -> None:
        """Start without distances."""
        self.moves: list[Move] = []
        self._task = -1
        self._last: Snapshot = {}
        self._end: Snapshot = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the first snapshot of a task, or of a round of it."""
        assert isinstance(pl_module, Learner)
        assert pl_module.task is not None
        self._task = pl_module.task.index
        self._last = _snapshot(pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure the distance to the last snapshot."""
        assert isinstance(pl_module, Learner)
        now, epoch = _snapshot(pl_module), trainer.current_epoch
        self.moves += moves_of(distances(self._last, now), "epochs", self._task, epoch)
        self._last = now
        if epoch + 1 == trainer.max_epochs and pl_module.plan.round + 1 == pl_module.plan.rounds:
            self.moves += moves_of(distances(self._end, now), "tasks", self._task, epoch)
            self._end = now


def _snapshot(module: L.LightningModule) -> Snapshot:
    trained = ((name, value) for name, value in module.named_parameters() if value.requires_grad)
    return {name: value.detach().to("cpu", torch.float32, copy=True) for name, value in trained}


def distances(before: Snapshot, now: Snapshot) -> dict[str, tuple[float, int]]:
    """L1 distance and number of entries of each parameter that has the same shape in both snapshots, by name."""
    return {
        name: (float((value.double() - before[name].double()).abs().sum()), value.numel())
        for name, value in now.items()
        if name in before and before[name].shape == value.shape
    }
