"""Several optimizers that act as one, each with its own parameter groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


class SeveralOptimizers(torch.optim.Optimizer):
    """Combines optimizers of several kinds, for a trainer and schedules that support one optimizer.

    Groups and state are shared with the optimizers, so that changes are seen by both.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Combine optimizers, which must not share parameters."""
        super().__init__([group for one in optimizers for group in one.param_groups], {})
        self._sizes = [len(one.param_groups) for one in optimizers]
        self._optimizers = tuple(optimizers)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Compute the gradients with the closure, if there is one, and take a step of each optimizer."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self._optimizers:
            optimizer.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore groups and state."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        start = 0
        for optimizer, size in zip(self._optimizers, self._sizes, strict=True):
            optimizer.param_groups, optimizer.state = self.param_groups[start : start + size], self.state
            start += size
