"""The base of GEM and A-GEM: the gradient of a step is projected by gradients of stored exemplars."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.learner.precision import refuse_unscaled
from clsuite.plugin.rehearsal import RehearsalPlugin

if TYPE_CHECKING:
    import lightning as L

    from clsuite.learner.learner import Learner
    from clsuite.learner.step import Step
    from clsuite.scenarios import Task


class GradientProjection(RehearsalPlugin, ABC):
    """Replaces the gradient of a step by one that conflicts less with exemplars; a member says by which.

    The gradient is that of all losses of the method, before other plugins mask it.
    """

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin the random draws of the task.

        Raises:
            UserError: If the run's precision scales gradients: those of the exemplars are not scaled.
        """
        super().on_task_start(learner, task)
        refuse_unscaled(self._owner, learner.options.precision)

    @abstractmethod
    def projected(self, learner: Learner, gradient: Tensor, parameters: list[nn.Parameter]) -> Tensor | None:
        """The gradient to use instead.

        Args:
            learner: The learner.
            gradient: The gradient ``[P]`` of all parameters that have one, one after another.
            parameters: These parameters.

        Returns:
            Another gradient ``[P]``, or None to keep the given one.
        """

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Project the gradient, if there are exemplars."""
        if not len(self.buffer):
            return
        moved = [parameter for parameter in pl_module.parameters() if parameter.grad is not None]
        gradient = torch.cat([parameter.grad.flatten() for parameter in moved if parameter.grad is not None])
        wanted = self.projected(pl_module, gradient, moved)  # type: ignore[arg-type]  # the module is the learner
        if wanted is None:
            return
        for parameter, part in zip(moved, wanted.split([p.numel() for p in moved]), strict=True):
            parameter.grad = part.view_as(parameter)


def gradient_of(step: Step, parameters: list[nn.Parameter]) -> Tensor:
    """The gradient ``[P]`` of the mean cross-entropy of exemplars over all classes, by some parameters.

    Args:
        step: The exemplars' pass.
        parameters: The parameters; the gradient of those that the loss does not depend on is zero.
    """
    loss = F.cross_entropy(step.logits.float(), step.batch.labels)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])
