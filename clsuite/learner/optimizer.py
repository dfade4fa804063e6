"""The optimizer of each task, with a new state or that of the last task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from clsuite.errors import UserError, did_you_mean
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.learner.schedules import NAMED, Schedule, with_warmup
from clsuite.learner.several_optimizers import SeveralOptimizers
from clsuite.learner.training_plan import TrainingPlan, optimizer_with
from clsuite.private_api import clip_true_gradients

MakeOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
"""Creates a user-defined optimizer from its parameter groups."""
MakeSchedule = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]
"""Creates a user-defined schedule."""


class OptimizerPolicy:
    """Builds the optimizer and schedule of each task and, if configured, keeps the optimizer's state between tasks."""

    def __init__(
        self, options: TrainingSpec, own: MakeOptimizer | None = None, own_schedule: MakeSchedule | None = None
    ) -> None:
        """Set the options, and start without a state.

        Args:
            options: The training options.
            own: Creates the optimizer if the options name a class.
            own_schedule: Creates the schedule if the options name a class.
        """
        self._options, self._own, self._own_schedule = options, own, own_schedule
        self._kept: dict[str, dict[str, Any]] = {}

    def configure(
        self, model: nn.Module, groups: list[dict[str, Any]] | None, steps: int, plan: TrainingPlan | None = None
    ) -> dict[str, Any]:
        """Build the result of Lightning's ``configure_optimizers``.

        Args:
            model: The learner; its trainable parameters are used if `groups` is None.
            groups: Parameter groups of a plugin.
            steps: Number of optimizer steps of the task, for the schedule.
            plan: The training plan of the task; by default that of the options.

        Raises:
            UserError: If there is nothing to train.
        """
        plan = TrainingPlan(self._options) if plan is None else plan
        chosen = groups if groups is not None else _default_groups(model, plan.options.optimizer)
        if not chosen:
            raise UserError("nothing is left to train: backbone and head are frozen or have no weights of their own")
        if self._lacks_class(plan.options):
            raise UserError("the training names a class: give the learner its factory (OptimizerPolicy)")
        optimizer, schedules = self._build(chosen, plan)
        if not self._options.recreate_optimizer:
            self._carry(model, optimizer)
        optimizer.register_step_post_hook(_mark_as_changed)
        if self._own_schedule is not None and plan.options.own_schedule is not None and plan.schedule is None:
            if any(one is not None for one in schedules):
                raise UserError("a parameter group has a schedule, but training.schedule is a class for all groups")
            interval = plan.options.own_schedule.interval
            own = self._own_schedule(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": own, "interval": interval}}
        usual = plan.schedule or NAMED[plan.options.schedule]
        warmup, epochs = plan.options.warmup_steps, plan.options.epochs
        factors = [with_warmup(one or usual, warmup, steps, epochs) for one in schedules]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factors)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def keep(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Store the optimizer's state by parameter name."""
        if not self._options.recreate_optimizer:
            names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
            self._kept = {names[parameter]: state for parameter, state in optimizer.state.items() if parameter in names}

    def forget(self, prefix: str = "") -> None:
        """Discard the stored state of weights that have been replaced.

        Args:
            prefix: How their names in the learner begin; by default all are meant.
        """
        self._kept = {name: state for name, state in self._kept.items() if not name.startswith(prefix)}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that must survive an interruption."""
        return self._kept

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state."""
        self._kept = state

    def _lacks_class(self, options: TrainingSpec) -> bool:
        return (options.optimizer.own is not None and self._own is None) or (
            options.own_schedule is not None and self._own_schedule is None
        )

    def _build(
        self, groups: list[dict[str, Any]], plan: TrainingPlan
    ) -> tuple[torch.optim.Optimizer, list[Schedule | None]]:
        """Build the optimizer of all groups, and the schedules in its order; None for the usual schedule."""
        usual, kinds = plan.options.optimizer, list[tuple[OptimizerSpec, list[dict[str, Any]]]]()
        schedules: list[tuple[int, Schedule | None]] = []
        for given in groups:
            group = dict(given)
            spec = optimizer_with(usual, group.pop("optimizer")) if "optimizer" in group else usual
            place = next((number for number, (known, _) in enumerate(kinds) if known == spec), len(kinds))
            schedules.append((place, _schedule_of(group.pop("schedule", None))))
            if place == len(kinds):
                kinds.append((spec, []))
            kinds[place][1].append(group)
        clip = plan.options.gradient_clip is not None
        made = [self._make(spec, of_kind, clip) for spec, of_kind in kinds]
        ordered = [schedule for _, schedule in sorted(schedules, key=lambda one: one[0])]
        return made[0] if len(made) == 1 else SeveralOptimizers(made), ordered

    def _make(self, spec: OptimizerSpec, groups: list[dict[str, Any]], clip: bool) -> torch.optim.Optimizer:
        if spec.own is not None and self._own is not None:
            return self._own(groups)
        if spec.name == "sgd":
            return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
        kind = torch.optim.Adam if spec.name == "adam" else torch.optim.AdamW
        optimizer = kind(groups, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
        if clip:  # Lightning then clips unscaled gradients also in mixed precision
            clip_true_gradients(optimizer)
        return optimizer

    def _carry(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = self._kept.get(names.get(parameter, ""))
                if state is not None:
                    optimizer.state[parameter] = {
                        key: value.to(parameter.device) if torch.is_tensor(value) and value.dim() else value
                        for key, value in state.items()
                    }


def groups_by_rate(model: nn.Module, spec: OptimizerSpec, heads: Iterable[nn.Module]) -> list[dict[str, Any]]:
    """The trained parameters of a model in two groups: heads at the rate of heads, the others at the other rate.

    Args:
        model: The model.
        spec: The optimizer's options, with ``lr`` and ``head_lr``.
        heads: Parts of the model that are heads; a group without parameters is left out.
    """
    known = {id(parameter) for part in heads for parameter in part.parameters()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    body, head = ([one for one in trained if (id(one) in known) == is_head] for is_head in (False, True))
    groups = [{"params": body, "lr": spec.lr}, {"params": head, "lr": spec.head_lr or spec.lr}]
    return [group for group in groups if group["params"]]


def _default_groups(model: nn.Module, spec: OptimizerSpec) -> list[dict[str, Any]]:
    return groups_by_rate(model, spec, [part for name, part in model.named_children() if name == "head"])


def _schedule_of(given: str | Schedule | None) -> Schedule | None:
    """The schedule of a parameter group, by name or as a function."""
    if not isinstance(given, str):
        return given
    if given not in NAMED:
        raise did_you_mean("schedule of a parameter group:", given, NAMED)
    return NAMED[given]


def _mark_as_changed(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Increment the version of each parameter, so that derived values become outdated; fused optimizers do not."""
    torch.autograd.graph.increment_version([p for group in optimizer.param_groups for p in group["params"]])
