"""Parameters put aside while others stand in for them during an evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from clsuite.learner.learner import Learner


class SetAside:
    """Keeps copies of parameters from a task's end until the next task."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: dict[str, Tensor] = {}

    @torch.no_grad()
    def replace(self, learner: Learner, values: Mapping[str, Tensor]) -> None:
        """Give named parameters other values and keep those that they had."""
        parameters = dict(learner.named_parameters())
        self._kept = {name: parameters[name].detach().clone() for name in values}
        for name, value in values.items():
            parameters[name].copy_(value)

    @torch.no_grad()
    def take_back(self, learner: Learner) -> None:
        """Give the parameters back what they had."""
        parameters = dict(learner.named_parameters())
        for name, value in self._kept.items():
            parameters[name].copy_(value)
        self._kept = {}
