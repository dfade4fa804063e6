"""Averaged gradient episodic memory (A-GEM)."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Learner, RehearsalPlugin, Task, Traits, check_range


class AGEM(RehearsalPlugin):
    """Projects the gradient so that the mean loss of the exemplars does not rise.

    Chaudhry et al., "Efficient lifelong learning with A-GEM" (ICLR 2019), equation 11. Let g be the gradient of the
    batch and r the gradient of the mean loss on stored exemplars. If they conflict (g·r < 0), g is replaced by
    ``g - (g·r / r·r) r``. g is the gradient of all losses of the method, before other plugins mask it.

    One reservoir buffer is shared by all tasks, and a task's samples are offered to it at the end of the task. In the
    paper every task has the same number of places.

    Args:
        capacity: Number of exemplars kept; null if `capacity_bytes` is given. (Paper, CIFAR-100: 1,300; 500 is the
            default of all plugins that keep exemplars.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        batch_size: Number of exemplars from which r is computed (paper: 256 on CIFAR-100); all of them if fewer are
            stored.
    """

    traits = Traits(
        memory=("exemplars",),
        incompatible_with={"all data": "joint training has all data already"},
        paper="Chaudhry, ICLR 2019 (A-GEM)",
        lends=True,
    )

    def __init__(self, capacity: int | None = 500, capacity_bytes: int | None = None, batch_size: int = 256) -> None:
        super().__init__("agem", capacity, capacity_bytes)
        check_range("agem", at_least=1, batch_size=batch_size)
        self.batch_size = batch_size

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Project the gradient if a step along it would increase the loss on the exemplars."""
        assert isinstance(pl_module, Learner)
        if not len(self.buffer):
            return
        moved = [parameter for parameter in pl_module.parameters() if parameter.grad is not None]
        gradient = torch.cat([parameter.grad.flatten() for parameter in moved if parameter.grad is not None])
        reference = self._reference(pl_module, moved)
        overlap = torch.dot(gradient, reference)
        if overlap >= 0:
            return
        gradient = gradient - overlap / torch.dot(reference, reference) * reference
        for parameter, part in zip(moved, gradient.split([p.numel() for p in moved]), strict=True):
            parameter.grad = part.view_as(parameter)

    def _reference(self, learner: Learner, parameters: list[torch.nn.Parameter]) -> Tensor:
        _, step = self.rehearse(learner, self.batch_size)
        loss = F.cross_entropy(step.logits.float(), step.batch.labels)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([gradient.flatten() for gradient in gradients])

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Offer the task's samples to the buffer."""
        self.buffer.add_task(learner, task, self.draws)
