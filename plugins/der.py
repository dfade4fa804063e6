"""Dark experience replay (DER and DER++)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Learner, RehearsalPlugin, Step, Task, Traits, check_range


class DER(RehearsalPlugin):
    """Replays exemplars with the logits that the model gave when they were stored (DER), and their labels (DER++).

    Buzzega et al., "Dark experience for general continual learning" (NeurIPS 2020), equation 6 and algorithm 2. The
    loss gains ``alpha * MSE(logits, stored logits)`` on one draw from the buffer and ``beta * CE`` on another. Images
    are stored without augmentation, together with the logits of that step, which are those of the augmented image as in
    the authors' code.

    As in the authors' code, the head has outputs for all classes of the stream from the start, with PyTorch's default
    initialization (traits: ``head_classes: stream``, ``head_init: uniform``). The logits of classes that have not come
    yet are therefore stored and matched too, which is what keeps new classes from being predicted for old images. The
    reservoir counts every sample in every epoch, and so holds logits from the whole course of training. The squared
    error is averaged over the batch and over all classes of the stream, also where a growing head
    (``head_classes: seen``) has fewer outputs.

    Args:
        capacity: Number of exemplars kept; null if `capacity_bytes` is given. (Paper: 200, 500 and 5120.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        alpha: Weight of the error of the logits; with 0 nothing is drawn for it. (The authors' repository has 0.3 for
            CIFAR-100 with 500 exemplars, in the setting of X-DER, Boschini et al. 2022.)
        beta: Weight of the exemplars' cross-entropy; 0 is DER. (The authors' repository: 0.5, in the same setting.)
        batch_size: Number of exemplars in each draw; null draws as many as a full batch has (``training.batch_size``),
            also where the last batch of an epoch is smaller (as in the authors' code).
        offer: When samples are offered to the buffer. ``every_epoch``: at each step that they take part in (as the
            authors do). ``first_epoch``: once in a task, at their first step.
        fill: For a growing head only. When the head has grown, the logits of the new classes are computed with it,
            without augmentation, for the exemplars that were stored without them (after X-DER, Boschini et al. 2022).
    """

    traits = Traits(
        memory=("exemplars", "logits"),
        incompatible_with={"all data": "joint training has all data already"},
        paper="Buzzega, NeurIPS 2020 (DER++)",
        training={"head_classes": "stream", "head_init": "uniform"},
        lends=True,
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        alpha: float = 0.3,
        beta: float = 0.5,
        batch_size: int | None = None,
        offer: Literal["every_epoch", "first_epoch"] = "every_epoch",
        fill: bool = False,
    ) -> None:
        super().__init__("der", capacity, capacity_bytes, with_logits=True)
        check_range("der", at_least=0, alpha=alpha, beta=beta)
        check_range("der", at_least=1, batch_size=batch_size)
        self.alpha, self.beta, self.batch_size, self.offer, self.fill = alpha, beta, batch_size, offer, fill

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Start the task's own random draws and, if `fill` is set, fill in logits of the new classes."""
        super().on_task_start(learner, task)
        if self.fill and len(self.buffer):
            self._fill(learner)

    @torch.no_grad()
    def _fill(self, learner: Learner) -> None:
        """Fill in the logits of the classes that the head did not have when the exemplars were stored."""
        if learner.frozen:
            learner.compute_known_features()
        with learner.autocast():
            answers = learner.head(learner.features_of(self.buffer.indices.numpy())).float().cpu()
        known = self.buffer.logits[:, : answers.shape[1]]
        known.copy_(torch.where(known.isnan(), answers, known))

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The two rehearsal terms. Then the samples of the batch are offered to the buffer."""
        terms, number = [], self.batch_size or learner.options.batch_size
        if len(self.buffer) and self.alpha:
            terms.append(self._match(learner, *self.rehearse(learner, number)))
        if len(self.buffer) and self.beta:
            again = self.rehearse(learner, number)[1]
            terms.append(self.beta * F.cross_entropy(again.logits.float(), again.batch.labels))
        self.add_step(learner, step, again=self.offer == "every_epoch")
        return torch.stack(terms).sum() if terms else None

    def _match(self, learner: Learner, chosen: Tensor, again: Step) -> Tensor:
        """The weighted error of the logits of some exemplars."""
        stored = self.buffer.logits[chosen][:, : again.logits.shape[1]].to(again.logits.device)
        known = ~stored.isnan()
        errors = F.mse_loss(again.logits.float()[known], stored[known], reduction="sum")
        return self.alpha * errors / (len(chosen) * len(learner.scenario.classes))
