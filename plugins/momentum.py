"""Momentum weight interpolation: the model is evaluated with a slow moving average of its weights."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from clsuite.plugin import Learner, Plugin, Task, Traits, check_range
from clsuite.plugin.helpers import WeightSwap, statistics_of


class Momentum(Plugin):
    """A slow copy of the weights follows the trained ones and replaces them in every evaluation.

    Stojanovski et al., "Momentum-based weight interpolation of strong zero-shot models for continual learning" (2022),
    equation 2: ``slow <- tau * slow + (1 - tau) * fast`` after each step. It stores no data and can be combined with
    any method that trains by gradient. Running statistics of batch normalization are averaged like weights. Whatever
    other plugins do to the weights before the first step and after each step is done before the copy is updated, in any
    order of the plugins.

    Args:
        tau: Decay in each step. In a short stream a copy with 0.999 hardly moves; to keep the same share in a stream of
            n steps instead of N, use ``tau ** (N / n)``.
    """

    traits = Traits(
        memory=("weights",),
        incompatible_with={"all data": "joint training starts anew at each task: there is nothing to average"},
        paper="Stojanovski, 2022 (momentum interpolation)",
        effects=("averages weights",),
    )
    state = ("_slow",)

    def __init__(self, tau: float = 0.999) -> None:
        super().__init__()
        check_range("momentum", at_least=0, below=1, tau=tau)
        self.tau = tau
        self._slow: dict[str, Tensor] = {}
        self._behind = False
        self._swap = WeightSwap()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Copy the parameters that are or were trained; new ones are copied with their values at this moment."""
        trained = {name: value for name, value in pl_module.named_parameters() if value.requires_grad}
        device = next(pl_module.parameters()).device
        first = {name: value.detach().clone() for name, value in (trained | statistics_of(pl_module, trained)).items()}
        self._slow = first | {name: value.to(device) for name, value in self._slow.items()}
        self._behind = False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that a step was taken; plugins that come after this one may still change the weights."""
        self._behind = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Update the copy for the last step."""
        self._follow(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Update the copy for the last step of the task."""
        self._follow(pl_module)

    @torch.no_grad()
    def _follow(self, learner: L.LightningModule) -> None:
        """Update the copy, if a step was taken since the last update (equation 2)."""
        if not self._behind:
            return
        present = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
        for name, slow in self._slow.items():
            slow.lerp_(present[name], 1 - self.tau)
        self._behind = False

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Load the copy into the model for the evaluation."""
        self._swap.replace(learner, self._slow)

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """Restore the trained weights, from which training continues."""
        self._swap.restore(learner)
