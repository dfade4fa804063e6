"""Averaged gradient episodic memory (A-GEM)."""

from __future__ import annotations

import torch
from torch import Tensor

from clsuite.plugin import Learner, Task, Traits, check_range
from clsuite.plugin.helpers import GradientProjection, gradient_of


class AGEM(GradientProjection):
    """Projects the gradient so that the mean loss of the exemplars does not rise.

    Chaudhry et al., "Efficient lifelong learning with A-GEM" (ICLR 2019), equation 11. Let g be the gradient of the
    batch and r the gradient of the mean loss on stored exemplars. If they conflict (g·r < 0), g is replaced by
    ``g - (g·r / r·r) r``. g is the gradient of all losses of the method, before other plugins mask it. `gem` has a
    constraint for each earlier task instead of one for all.

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
        incompatible_with={
            "all data": "joint training has all data already",
            "projects gradients": "both project the gradient: the second projection undoes what the first one ensured",
        },
        paper="Chaudhry, ICLR 2019 (A-GEM)",
        lends=True,
        effects=("projects gradients",),
    )

    def __init__(self, capacity: int | None = 500, capacity_bytes: int | None = None, batch_size: int = 256) -> None:
        super().__init__("agem", capacity, capacity_bytes)
        check_range("agem", at_least=1, batch_size=batch_size)
        self.batch_size = batch_size

    def projected(self, learner: Learner, gradient: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor | None:
        """Project the gradient if a step along it would increase the loss on the exemplars."""
        _, step = self.rehearse(learner, self.batch_size)
        reference = gradient_of(step, parameters)
        overlap = torch.dot(gradient, reference)
        if overlap >= 0:
            return None
        return gradient - overlap / torch.dot(reference, reference) * reference

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Offer the task's samples to the buffer."""
        self.buffer.add_task(learner, task, self.draws)
