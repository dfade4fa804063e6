"""The optimizer of each task: new, or with the state of the last one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from clsuite.errors import UserError
from clsuite.learner.options import TrainingSpec
from clsuite.private_api import clip_true_gradients

MakeOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
"""Makes a user-defined optimizer from its parameter groups."""
MakeSchedule = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]
"""Makes a user-defined schedule."""


class OptimizerPolicy:
    """Builds the optimizer and schedule of each task and, where asked to, carries the optimizer's state on."""

    def __init__(
        self, options: TrainingSpec, own: MakeOptimizer | None = None, own_schedule: MakeSchedule | None = None
    ) -> None:
        """Keep the options; no state yet.

        Args:
            options: How tasks are trained.
            own: Makes the optimizer where the options name a class.
            own_schedule: Makes the schedule where the options name a class.
        """
        self._options, self._own, self._own_schedule = options, own, own_schedule
        self._kept: dict[str, dict[str, Any]] = {}

    def configure(self, model: nn.Module, groups: list[dict[str, Any]] | None, steps: int) -> dict[str, Any]:
        """Build what Lightning's ``configure_optimizers`` returns.

        Args:
            model: The learner; its trainable parameters are taken where `groups` is None.
            groups: Parameter groups that a plugin gave.
            steps: Optimizer steps of the task, for the schedule.

        Raises:
            UserError: If nothing is left to train.
        """
        chosen = groups if groups is not None else self._default_groups(model)
        if not chosen:
            raise UserError("nothing is left to train: backbone and head are frozen or have no weights of their own")
        if self._lacks_class():
            raise UserError("the training names a class: give the learner what makes it (OptimizerPolicy)")
        optimizer = self._build(chosen)
        if not self._options.recreate_optimizer:
            self._carry(model, optimizer)
        optimizer.register_step_post_hook(_mark_as_changed)
        if self._own_schedule is not None and self._options.own_schedule is not None:
            interval = self._options.own_schedule.interval
            own = self._own_schedule(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": own, "interval": interval}}
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def keep(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Remember the optimizer's state by parameter name."""
        if not self._options.recreate_optimizer:
            names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
            self._kept = {names[parameter]: state for parameter, state in optimizer.state.items() if parameter in names}

    def forget(self) -> None:
        """Let the kept state go: the weights that it belongs to are gone."""
        self._kept = {}

    def state_dict(self) -> dict[str, Any]:
        """What must survive an interruption."""
        return self._kept

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state back."""
        self._kept = state

    def _lacks_class(self) -> bool:
        return (self._options.optimizer.own is not None and self._own is None) or (
            self._options.own_schedule is not None and self._own_schedule is None
        )

    def _default_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        spec = self._options.optimizer
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        head = [parameter for name, parameter in named if name.startswith("head.")]
        body = [parameter for name, parameter in named if not name.startswith("head.")]
        groups = [{"params": body, "lr": spec.lr}, {"params": head, "lr": spec.head_lr or spec.lr}]
        return [group for group in groups if group["params"]]

    def _build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        spec = self._options.optimizer
        if self._own is not None:
            return self._own(groups)
        if spec.name == "sgd":
            return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
        kind = torch.optim.Adam if spec.name == "adam" else torch.optim.AdamW
        optimizer = kind(groups, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
        if self._options.gradient_clip is not None:  # Lightning then clips true gradients also in mixed precision
            clip_true_gradients(optimizer)
        return optimizer

    def _carry(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = self._kept.get(names[parameter])
                if state is not None:
                    optimizer.state[parameter] = {
                        key: value.to(parameter.device) if torch.is_tensor(value) and value.dim() else value
                        for key, value in state.items()
                    }

    def _factor(self, step: int, steps: int) -> float:
        warmup = self._options.warmup_steps
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self._options.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _mark_as_changed(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Raise the version of each parameter, which fused optimizers do not: what was computed from it is seen as old."""
    torch.autograd.graph.increment_version([p for group in optimizer.param_groups for p in group["params"]])
