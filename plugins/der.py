"""Dark experience replay (DER and DER++)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.buffer import ExemplarBuffer, exemplar_capacity, make_buffer
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin, Traits, check_range
from clsuite.scenarios import Scenario, Task


class DER(Plugin):
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
        super().__init__()
        check_range("der", at_least=0, alpha=alpha, beta=beta)
        check_range("der", at_least=1, batch_size=batch_size)
        exemplar_capacity(capacity, capacity_bytes, 1, "der")
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self.alpha, self.beta, self._batch_size = alpha, beta, batch_size
        self.offer, self.fill = offer, fill
        self.buffer = ExemplarBuffer(0, "reservoir")

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Make the buffer; an exemplar is an image, a label and a logit for each class."""
        self.buffer = make_buffer(
            "der",
            "reservoir",
            self._capacity,
            self._capacity_bytes,
            image_shape=scenario.table.images.shape[1:],
            classes=len(scenario.classes),
            logits=len(scenario.classes),
        )

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin the task's own draws; none of its samples has been offered."""
        self._draws = torch.Generator().manual_seed(learner.generator("der").initial_seed())
        self._offered = torch.zeros(len(learner.scenario.table), dtype=torch.bool)
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
        terms = [self._match(learner, step), self._rehearse(learner, step)] if len(self.buffer) else []
        self._offer(learner, step)
        given = [term for term in terms if term is not None]
        return torch.stack(given).sum() if given else None

    def _match(self, learner: Learner, step: Step) -> Tensor | None:
        if not self.alpha:
            return None
        chosen, again = self._again(learner, step)
        stored = self.buffer.logits[chosen][:, : again.logits.shape[1]].to(again.logits.device)
        known = ~stored.isnan()
        errors = F.mse_loss(again.logits.float()[known], stored[known], reduction="sum")
        return self.alpha * errors / (len(chosen) * len(learner.scenario.classes))

    def _rehearse(self, learner: Learner, step: Step) -> Tensor | None:
        if not self.beta:
            return None
        _, again = self._again(learner, step)
        return self.beta * F.cross_entropy(again.logits.float(), again.batch.labels)

    def _again(self, learner: Learner, step: Step) -> tuple[Tensor, Step]:
        chosen = self.buffer.sample_indices(self._batch_size or learner.options.batch_size, self._draws)
        learner.gradient_samples += len(chosen)
        return chosen, learner.rehearse(self.buffer.batch(chosen, step.batch.images is not None))

    def _offer(self, learner: Learner, step: Step) -> None:
        indices = step.batch.indices.cpu()
        new = ~step.batch.replayed.cpu()
        if self.offer == "first_epoch":
            new &= ~self._offered[indices]
        if not new.any():
            return
        indices = indices[new]
        self._offered[indices] = True
        logits = torch.full((len(indices), len(learner.scenario.classes)), float("nan"))
        logits[:, : step.logits.shape[1]] = step.logits.detach()[new.to(step.logits.device)].float().cpu()
        labels, again = step.batch.labels.cpu()[new], self.offer == "every_epoch"
        self.buffer.add(learner.images_of, labels, indices, self._draws, logits=logits, again=again)

    def stored_bytes(self) -> dict[str, int]:
        """Exemplars and their logits."""
        return {"exemplars": self.buffer.bytes, "logits": self.buffer.logit_bytes}

    def state_dict(self) -> dict[str, Any]:
        """The buffer."""
        return self.buffer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The buffer."""
        self.buffer.load_state_dict(state_dict)
