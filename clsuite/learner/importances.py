"""Importance-weighted penalties: EWC, MAS, SI and RWalk are one penalty with four importances.

Each member says how its importances are measured and how those of several tasks are joined. EWC and MAS measure them
after a task, by gradients of single images (`mean_over_samples`). SI and RWalk measure them along the path of the
training, by the gradient and the update of each step (`PathPenalty`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from clsuite.errors import UserError
from clsuite.plugin.base import Plugin
from clsuite.plugin.ranges import check_range

if TYPE_CHECKING:
    import lightning as L
    import numpy as np
    from numpy.typing import NDArray

    from clsuite.learner.learner import Learner
    from clsuite.learner.step import Step
    from clsuite.scenarios import Task

CHUNK = 16
"""Number of images whose gradients are computed at once; it moves results by rounding alone."""


class ImportancePenalty(Plugin, ABC):
    """Holds parameters near their values after the last task, each as firmly as its importance says.

    The loss gains ``penalty / 2 * sum importance * (theta - anchor)^2``. Parameters that did not exist after the last
    task, such as the head's new classes, are free, and those that are frozen are left out.
    """

    state: ClassVar[tuple[str, ...]] = ("_importances", "_anchor")

    def __init__(self, owner: str, penalty: float) -> None:
        """Set the weight of the penalty.

        Args:
            owner: Name of the method, for messages and as the purpose of its random draws.
            penalty: lambda.

        Raises:
            UserError: If it is negative.
        """
        super().__init__()
        check_range(owner, at_least=0, penalty=penalty)
        self.penalty, self._owner = penalty, owner
        self._importances, self._anchor = dict[str, Tensor](), dict[str, Tensor]()

    @abstractmethod
    def measure(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """The importance of each trained parameter for a task that has been trained, by name, in its shape."""

    def joined(self, old: Tensor, fresh: Tensor | None) -> Tensor:
        """The importance of a parameter for all tasks.

        Args:
            old: That for earlier tasks.
            fresh: That for the last task; None if the parameter was frozen.
        """
        return old if fresh is None else fresh + old

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Move the stored values to the compute device: a resumed run loads them into main memory."""
        self._importances = {name: value.to(learner.device) for name, value in self._importances.items()}
        self._anchor = {name: value.to(learner.device) for name, value in self._anchor.items()}

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The quadratic penalty."""
        if not self.penalty:
            return None
        parameters = dict(learner.named_parameters())
        terms = [
            (importance * (parameters[name] - self._anchor[name]).square()).sum()
            for name, importance in self._importances.items()
            if parameters[name].requires_grad
        ]
        return 0.5 * self.penalty * torch.stack(terms).sum() if terms else None

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the importances of the task, and move the anchor."""
        fresh = self.measure(learner, task)
        known = {name: self.joined(value, fresh.get(name)) for name, value in self._importances.items()}
        self._importances = known | {name: value for name, value in fresh.items() if name not in known}
        parameters = dict(learner.named_parameters())
        self._anchor = {name: parameters[name].detach().clone() for name in self._importances}


class PathPenalty(ImportancePenalty):
    """Measures importances along the path of the training, by the gradient and the real update of each step.

    The gradient is that of the loss without this penalty, whose own gradient is known and subtracted. The update is
    what the optimizer, weight decay and plugins that come before this one have changed.
    """

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin the path.

        Raises:
            UserError: If the run's precision scales gradients.
        """
        super().on_task_start(learner, task)
        if learner.options.precision == "16":
            raise UserError(f"{self._owner}: precision 16 scales the gradients that it sums: use bf16 or 32")
        self._before = dict[str, tuple[Tensor, Tensor]]()

    @abstractmethod
    def add_step(self, name: str, gradient: Tensor, before: Tensor, after: Tensor) -> None:
        """Add the step of a parameter.

        Args:
            name: Its name.
            gradient: Gradient of the loss before the step, without the penalty, and not clipped.
            before: Its value before the step.
            after: Its value after it.
        """

    def end_step(self, learner: Learner) -> None:
        """Called when the step of all parameters has been added."""

    @torch.no_grad()
    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Keep gradients and values of all parameters before the step."""
        self._before = {
            name: (self._without_penalty(name, value), value.detach().clone())
            for name, value in pl_module.named_parameters()
            if value.grad is not None
        }

    def _without_penalty(self, name: str, value: Tensor) -> Tensor:
        assert value.grad is not None
        if name not in self._importances or not self.penalty:
            return value.grad.detach().clone()
        return value.grad - self.penalty * self._importances[name] * (value.detach() - self._anchor[name])

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the step."""
        parameters: dict[str, Tensor] = dict(pl_module.named_parameters())
        for name, (gradient, before) in self._before.items():
            self.add_step(name, gradient, before, parameters[name].detach())
        self._before = {}
        self.end_step(pl_module)  # type: ignore[arg-type]  # the module is the learner


def mean_over_samples(
    learner: Learner,
    indices: NDArray[np.int64],
    objective: Callable[[Tensor, Tensor], Tensor],
    of_gradient: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """The mean over images of a function of each image's gradient, for all trained parameters by name.

    Images are not augmented, and the network is in evaluation mode. The passes are counted.

    Args:
        learner: The learner.
        indices: Indices of the images in the table.
        objective: A scalar of the logits ``[1, C]`` and the label ``[1]`` of an image.
        of_gradient: Maps gradients ``[N, ...]`` of N images to values of the same shape.
    """
    parameters = {name: value.detach() for name, value in learner.named_parameters() if value.requires_grad}
    sums = {name: torch.zeros_like(value) for name, value in parameters.items()}

    def value_of(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return objective(functional_call(learner, parameters, (image[None],)), label[None])

    was_training = learner.training
    learner.eval()
    for start in range(0, len(indices), CHUNK):
        chunk = indices[start : start + CHUNK]
        images = learner.backbone.normalize(learner.images_of(chunk).to(learner.device))
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no rule for per-sample gradients
            each = vmap(grad(value_of), in_dims=(None, 0, 0))(parameters, images, learner.labels_of(chunk))
        for name, gradients in each.items():
            sums[name] += of_gradient(gradients).sum(dim=0)
        learner.gradient_samples += len(chunk)
    learner.train(was_training)
    return {name: value / len(indices) for name, value in sums.items()}
