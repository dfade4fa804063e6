"""Riemannian walk (RWalk)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from clsuite.plugin import Learner, Task, Traits, check_range
from clsuite.plugin.helpers import PathPenalty


class RWalk(PathPenalty):
    """Holds parameters by a running Fisher information, and by what their paths have lowered the loss in its metric.

    Chaudhry et al., "Riemannian walk for incremental learning" (ECCV 2018), which joins `ewc` and `si`. F is a moving
    average over steps of the squared gradient, F <- alpha g^2 + (1 - alpha) F. The score of a parameter gains, in each
    interval of some steps, what these have lowered the loss, -sum g (theta_after - theta_before), divided by
    F D^2 / 2 + epsilon, where D is the distance moved. Scores are halved with each later task. The importance is
    F / max F + max(score, 0) / max score, with the maxima over all parameters.

    As in Avalanche, g is the gradient of a batch's mean loss without the penalty. Unlike there, it is that of the
    training's own pass, augmentation included; the steps after the last whole interval of a task count as one; and a
    parameter's first score is not halved. The penalty is that of `ewc`, lambda / 2; Avalanche has no half.

    Args:
        penalty: lambda; the loss gains lambda / 2 * sum importance (theta - anchor)^2. The default is what
            ``clsuite tune quickstart`` finds on validation parts.
        alpha: Share of the new squared gradient in F (Avalanche: 0.9).
        interval: Number of steps of an interval (Avalanche: 10).
        epsilon: What is added to the squared distance (Avalanche: 1.2e-7).
    """

    traits = Traits(
        memory=("importances",),
        effects=("sums updates",),
        paper="Chaudhry, ECCV 2018 (RWalk)",
    )
    state: ClassVar[tuple[str, ...]] = ("_fisher", "_scores")

    def __init__(self, penalty: float = 1e5, alpha: float = 0.9, interval: int = 10, epsilon: float = 1.2e-7) -> None:
        super().__init__("rwalk", penalty)
        check_range("rwalk", above=0, at_most=1, alpha=alpha)
        check_range("rwalk", at_least=1, interval=interval)
        check_range("rwalk", above=0, epsilon=epsilon)
        self.alpha, self.interval, self.epsilon = alpha, interval, epsilon
        self._fisher, self._scores = dict[str, Tensor](), dict[str, Tensor]()

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin the path, and move the stored values to the compute device."""
        super().on_task_start(learner, task)
        self._fisher = {name: value.to(learner.device) for name, value in self._fisher.items()}
        self._scores = {name: value.to(learner.device) for name, value in self._scores.items()}
        self._start, self._path, self._fresh = dict[str, Tensor](), dict[str, Tensor](), dict[str, Tensor]()
        self._steps = 0

    def add_step(self, name: str, gradient: Tensor, before: Tensor, after: Tensor) -> None:
        """Move the running Fisher information, and add what the step has lowered the loss."""
        squared, old = gradient.square(), self._fisher.get(name)
        self._fisher[name] = squared if old is None else self.alpha * squared + (1 - self.alpha) * old
        if name not in self._start:
            self._start[name], self._path[name] = before, torch.zeros_like(before)
        self._path[name] -= gradient * (after - before)

    def end_step(self, learner: Learner) -> None:
        """End an interval."""
        self._steps += 1
        if self._steps % self.interval == 0:
            self._end_interval(learner)

    def _end_interval(self, learner: Learner) -> None:
        parameters = dict(learner.named_parameters())
        for name, fall in self._path.items():
            moved = (parameters[name].detach() - self._start[name]).square()
            score = fall / (0.5 * self._fisher[name] * moved + self.epsilon)
            self._fresh[name] = self._fresh[name] + score if name in self._fresh else score
        self._start, self._path = {}, {}

    def measure(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """The sum of both terms, each divided by its largest value."""
        self._end_interval(learner)
        fresh, self._fresh = self._fresh, {}
        means = {name: 0.5 * (old + fresh[name]) for name, old in self._scores.items() if name in fresh}
        self._scores = {**self._scores, **fresh, **means}
        gained = {name: value.clamp_min(0) for name, value in self._scores.items()}
        largest, most = _largest(self._fisher), _largest(gained)
        return {name: self._fisher[name] / largest + value / most for name, value in gained.items()}

    def joined(self, old: Tensor, fresh: Tensor | None) -> Tensor:
        """The importance for all tasks, which `measure` has joined."""
        return old if fresh is None else fresh


def _largest(values: dict[str, Tensor]) -> Tensor:
    """The largest entry of all tensors; the smallest number above zero if there are none above zero."""
    entries = [value.max() for value in values.values()]
    return torch.stack(entries).max().clamp_min(torch.finfo(torch.float32).tiny) if entries else torch.tensor(1.0)
