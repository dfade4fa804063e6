"""Dark experience replay (DER and DER++)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Learner, RehearsalPlugin, Step, Task, Traits, check_range


class DER(RehearsalPlugin):
    """Replays exemplars with the logits that the model gave when they were stored (DER), and their labels (DER++).

    Buzzega et al., "Dark experience for general continual learning" (NeurIPS 2020), equation 6 and algorithm 2: the
    loss gains ``alpha * MSE(logits, stored logits)`` on one draw from the buffer and ``beta * CE`` on another. Images
    are stored without augmentation, with the logits of the moment (of the augmented image, as in the authors' code).

    As in the authors' code the head has all the stream's classes from the start, with PyTorch's own first values
    (traits: ``head_classes: stream``, ``head_init: uniform``): what an exemplar answers for classes that have not come
    yet is stored and matched too, and that is what holds new classes down on old images. The reservoir counts every
    sample of every epoch, and holds answers of the whole trajectory. The error is divided by batch and all classes of
    the stream, also where a growing head (``head_classes: seen``) knows fewer.

    Args:
        capacity: Exemplars kept; null where `capacity_bytes` is given. (Paper: 200, 500 and 5120.)
        capacity_bytes: Bytes kept instead.
        alpha: Weight of the error of the logits; at 0 no draw is made for it. (The authors' repository has 0.3 for
            CIFAR-100 with 500 exemplars, in the setting of X-DER, Boschini et al. 2022.)
        beta: Weight of the exemplars' cross-entropy; 0 is DER. (As alpha: 0.5.)
        batch_size: Exemplars of each draw; null draws as many as a full batch has (``training.batch_size``), also where
            the last batch of an epoch is smaller (as in the authors' code).
        offer: ``every_epoch`` offers every sample at each step that it takes part in (the authors'); ``first_epoch``
            once in a task, at its first step.
        fill: Of a growing head: when it has grown, the new classes' answers are filled in for the exemplars that were
            stored without them, as the new head gives them, un-augmented (after X-DER, Boschini et al. 2022).
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
        """Begin the task's own draws, and fill in what the grown head answers for exemplars, where asked to."""
        super().on_task_start(learner, task)
        if self.fill and len(self.buffer):
            self._fill(learner)

    @torch.no_grad()
    def _fill(self, learner: Learner) -> None:
        """Give exemplars the answers that the head has now and had not when they were stored."""
        if learner.frozen:
            learner.compute_known_features()
        with learner.autocast():
            answers = learner.head(learner.features_of(self.buffer.indices.numpy())).float().cpu()
        known = self.buffer.logits[:, : answers.shape[1]]
        known.copy_(torch.where(known.isnan(), answers, known))

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The two rehearsal terms; then the batch's samples are offered to the buffer."""
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
