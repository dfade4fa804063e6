"""Synaptic intelligence (SI)."""

from __future__ import annotations

import torch
from torch import Tensor

from clsuite.plugin import Learner, Task, Traits, check_range
from clsuite.plugin.helpers import PathPenalty


class SI(PathPenalty):
    """Holds parameters near the last task's values, each as firmly as its path has lowered the loss.

    Zenke et al., "Continual learning through synaptic intelligence" (ICML 2017), equations 3 to 5. omega is the path
    integral of a task, the sum over steps of -g (theta_after - theta_before); the importance gains omega / (D^2 + xi),
    where D is what the task has moved the parameter. g is the gradient of the loss without the penalty, before
    clipping; updates are those of the optimizer, with momentum, Adam's scaling and weight decay. A negative omega
    counts as 0, because the penalty would push the parameter away. Images are not read again, so that streams that pass
    once can be learned.

    Avalanche's SI differs: its omega has the penalty in its gradient, and its importance is at most 0.001.

    Args:
        penalty: lambda; the loss gains lambda / 2 * sum importance (theta - anchor)^2, so that it is 2 c of the paper.
            The default is what ``clsuite tune quickstart`` finds on validation parts.
        xi: Damping of the division by D^2, which keeps importances of unmoved parameters finite. (FACIL: 0.1,
            which is far above all D^2 of a fine-tuned network, so that importances are those omega.)
    """

    traits = Traits(
        memory=("importances",),
        effects=("sums updates",),
        paper="Zenke, ICML 2017 (SI)",
    )

    def __init__(self, penalty: float = 1e6, xi: float = 1e-3) -> None:
        super().__init__("si", penalty)
        check_range("si", above=0, xi=xi)
        self.xi = xi

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin the path."""
        super().on_task_start(learner, task)
        self._start, self._path = dict[str, Tensor](), dict[str, Tensor]()

    def add_step(self, name: str, gradient: Tensor, before: Tensor, after: Tensor) -> None:
        """Add what the step has lowered the loss, to first order."""
        if name not in self._start:
            self._start[name], self._path[name] = before, torch.zeros_like(before)
        self._path[name] -= gradient * (after - before)

    def measure(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """What the path of each parameter has lowered the loss, by the square of the way."""
        parameters, path, start = dict(learner.named_parameters()), self._path, self._start
        self._start, self._path = {}, {}
        return {
            name: value.clamp_min(0) / ((parameters[name].detach() - start[name]).square() + self.xi)
            for name, value in path.items()
        }
