"""Several optimizers that step as one, each with parameter groups of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


class SeveralOptimizers(torch.optim.Optimizer):
    """Optimizers of several kinds as one, for a trainer and schedules that know one.

    Groups and state are those of the optimizers, one after another; whatever is changed in them is changed there.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Put optimizers together, which share no parameter."""
        super().__init__([group for one in optimizers for group in one.param_groups], {})
        self._sizes = [len(one.param_groups) for one in optimizers]
        self._optimizers = tuple(optimizers)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Compute the gradients, where a closure does that, and let each optimizer take its step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self._optimizers:
            optimizer.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take groups and state back."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        start = 0
        for optimizer, size in zip(self._optimizers, self._sizes, strict=True):
            optimizer.param_groups, optimizer.state = self.param_groups[start : start + size], self.state
            start += size
