"""Maximal interfered retrieval (ER-MIR)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.plugin import Batch, Learner, RehearsalPlugin, Task, Traits, check_range
from clsuite.plugin.helpers import evaluating, step_loss

Policy = Literal["reservoir", "class_balanced"]


class MIR(RehearsalPlugin):
    """Replays those exemplars whose loss the next step, taken without exemplars, would raise most.

    Aljundi et al., "Online continual learning with maximal interfered retrieval" (NeurIPS 2019), algorithm 1. Some
    exemplars are drawn as candidates. A virtual step of plain gradient descent on the batch's own samples follows:
    ``theta_v = theta - lr * gradient``. The candidates with the largest ``loss(theta_v) - loss(theta)`` are added to
    the batch, and the weights are as before. With as many candidates as are rehearsed, this is `replay`.

    Gradient and losses are those of images without augmentation, in evaluation mode and in 32 bits; what is then
    rehearsed is augmented. In the authors' code the gradient of the virtual step is that of the training step itself;
    here it is a pass of its own, which is counted. The task's samples are offered to the buffer at its end, as in
    `replay`, where the authors fill it at each step and leave the current task's exemplars out of the draw. As in
    `replay`, exemplars and own samples have one mean (authors: the sum of both means). The authors' variant that also
    compares with the best loss so far is not implemented.

    Args:
        capacity: Number of exemplars kept; null if `capacity_bytes` is given. (Paper, CIFAR-10: 20 to 100 a class.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        buffer: ``reservoir`` (the paper's) or ``class_balanced``.
        batch_size: Number of exemplars added to each batch; null adds as many as the batch has samples of its own, as
            in the paper.
        candidates: Number of exemplars among which these are searched (authors: 50, for 10 that are rehearsed).
        lr: Learning rate of the virtual step; null takes that of each parameter in the optimizer, whose own step may
            be another one, such as Adam's. (Authors: the rate of their SGD, 0.1.)
    """

    traits = Traits(
        memory=("exemplars",), effects=("trains by itself",), paper="Aljundi, NeurIPS 2019 (MIR)", lends=True
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        buffer: Policy = "reservoir",
        batch_size: int | None = None,
        candidates: int = 100,
        lr: float | None = None,
    ) -> None:
        super().__init__("mir", capacity, capacity_bytes, buffer)
        check_range("mir", at_least=1, batch_size=batch_size, candidates=candidates)
        check_range("mir", above=0, lr=lr)
        self.batch_size, self.candidates, self.lr = batch_size, candidates, lr

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add the exemplars that suffer most to the batch."""
        number = batch.own if self.batch_size is None else self.batch_size
        if not len(self.buffer) or not number:
            return batch
        chosen = self.buffer.sample_indices(max(self.candidates, number), self.draws)
        if len(chosen) > number:
            worst = self.interference(learner, batch, chosen).topk(number).indices
            chosen = chosen[worst.sort().values.cpu()]
        return self.extend_by(batch, chosen)

    def interference(self, learner: Learner, batch: Batch, chosen: Tensor) -> Tensor:
        """How much the virtual step raises the loss of exemplars at positions in the buffer, ``[len(chosen)]``."""
        exemplars = self.buffer.batch(chosen, with_images=batch.images is not None).to(learner.device)
        exemplars, own = (_normalized(learner, one) for one in (exemplars, batch.part(slice(batch.own))))
        optimizers = learner.trainer.optimizers
        rates = {value: group["lr"] for one in optimizers for group in one.param_groups for value in group["params"]}
        values = [value for value in rates if value.requires_grad]
        with evaluating(learner):
            with torch.enable_grad():
                step = learner.step_of(own, exact=True)
                loss = step_loss(learner, step, step.logits)
                gradients = torch.autograd.grad(loss, values, allow_unused=True)
            learner.count_gradients(len(own))
            before = _losses(learner, exemplars)
            steps = [self.lr or rates[value] for value in values]
            after = self._stepped(learner, exemplars, values, gradients, steps)
        return after - before

    @torch.no_grad()
    def _stepped(
        self,
        learner: Learner,
        exemplars: Batch,
        values: list[nn.Parameter],
        gradients: tuple[Tensor | None, ...],
        rates: list[float],
    ) -> Tensor:
        """Losses of exemplars after the virtual step; the weights are then what they were, bit for bit."""
        kept = [value.detach().clone() for value in values]
        try:
            for value, gradient, rate in zip(values, gradients, rates, strict=True):
                if gradient is not None:
                    value.sub_(rate * gradient)
            return _losses(learner, exemplars)
        finally:
            for value, before in zip(values, kept, strict=True):
                value.copy_(before)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Offer the task's samples to the buffer."""
        self.buffer.add_task(learner, task, self.draws)


def _normalized(learner: Learner, batch: Batch) -> Batch:
    return batch if batch.images is None else batch.with_images(learner.backbone.normalize(batch.images))


@torch.no_grad()
def _losses(learner: Learner, batch: Batch) -> Tensor:
    """The cross-entropy of each sample among all seen classes ``[B]``."""
    return F.cross_entropy(learner.step_of(batch, exact=True).logits.float(), batch.labels, reduction="none")
