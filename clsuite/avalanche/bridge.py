"""The plugin inside each strategy: the run's optimizer, schedule and gradient clipping."""

from __future__ import annotations

import math
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from clsuite.avalanche.network import Features
from clsuite.errors import UserError
from clsuite.learner.learner import Learner


class Bridge(SupervisedPlugin):  # type: ignore[misc]
    """Gives a strategy the optimizer of the training options, new for each task or with the state of the last one.

    It comes after the strategy's own plugins, which may replace the network and the data, so that the schedule has as
    many steps as the task will take.
    """

    def __init__(self, learner: Learner) -> None:
        """Keep the learner."""
        super().__init__()
        self._learner = learner
        self._schedule: Any = None
        self._each_step = True

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Make the optimizer and the schedule of a task."""
        if strategy.optimizer is None:
            return
        steps = max(1, len(strategy.dataloader) * strategy.train_epochs)
        strategy.optimizer, self._schedule, self._each_step = make_optimizer(self._learner, strategy.model, steps)
        strategy.optimized_param_id = dict(strategy.model.named_parameters())

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        """Clip gradients as the training options say."""
        largest = self._learner.options.gradient_clip
        if largest is not None:
            torch.nn.utils.clip_grad_norm_(strategy.model.parameters(), largest)

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """Take a step of the schedule."""
        if self._schedule is not None and self._each_step:
            self._schedule.step()

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Log the loss.

        Raises:
            UserError: If it is not finite.
        """
        loss = float(strategy.loss.detach())
        if not math.isfinite(loss):
            raise UserError(
                f"the loss of Avalanche's {type(strategy).__name__} is {loss}: lower training.optimizer.lr, or the "
                "weight of its own loss"
            )
        self._learner.log("loss", loss)

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Take a step of a schedule by epochs."""
        if self._schedule is not None and not self._each_step:
            self._schedule.step()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Keep the optimizer's state, if the training options say so."""
        if strategy.optimizer is not None:
            self._learner.optimizer_policy.keep(strategy.model, strategy.optimizer)


def make_optimizer(learner: Learner, model: nn.Module, steps: int) -> tuple[torch.optim.Optimizer, Any, bool]:
    """The optimizer of the training options for a strategy's network, and its schedule.

    Args:
        learner: The model.
        model: The network; all that is not the backbone has the learning rate of the head.
        steps: Number of steps of the task.

    Returns:
        The optimizer, the schedule, and whether it takes a step after each step of the optimizer, or else each epoch.
    """
    spec = learner.options.optimizer
    backbones = [part for part in model.modules() if isinstance(part, Features)]
    inside = {id(value) for part in backbones for value in part.parameters()}
    trained = [value for value in model.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in trained if id(value) in inside], "lr": spec.lr},
        {"params": [value for value in trained if id(value) not in inside], "lr": spec.head_lr or spec.lr},
    ]
    configured = learner.optimizer_policy.configure(model, [group for group in groups if group["params"]], steps)
    schedule = configured["lr_scheduler"]
    return configured["optimizer"], schedule["scheduler"], schedule["interval"] == "step"
