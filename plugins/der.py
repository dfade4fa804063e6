"""Dark experience replay (DER and DER++)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.buffer import ExemplarBuffer, exemplar_capacity
from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class DER(Plugin):
    """Replays exemplars with the logits that the model gave when they were stored (DER), and their labels (DER++).

    Buzzega et al., "Dark experience for general continual learning" (NeurIPS 2020), equation 6 and algorithm 2: the
    loss gains ``alpha * MSE(logits, stored logits)`` on one draw from the buffer and ``beta * CE`` on another. Images
    are stored without augmentation, with the logits of the moment (of the augmented image, as in the authors' code). A
    sample is offered to the reservoir at its first step in a task, once. The stored logits cover the classes seen then;
    the error is the mean over those.

    Args:
        capacity: Exemplars kept; null where `capacity_bytes` is given. (Paper: 200, 500 and 5120.)
        capacity_bytes: Bytes kept instead.
        alpha: Weight of the error of the logits. (Paper, CIFAR-100 with 500 exemplars: 0.3.)
        beta: Weight of the exemplars' cross-entropy; 0 is DER. (Paper, CIFAR-100 with 500 exemplars: 0.5.)
        batch_size: Exemplars of each draw; null draws as many as the batch has.
    """

    traits = Traits(
        stores=("exemplars", "logits"),
        forbids={"all data": "joint training has all data already"},
        paper="Buzzega, NeurIPS 2020 (DER++)",
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        alpha: float = 0.3,
        beta: float = 0.5,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if alpha < 0 or beta < 0:
            raise UserError(f"der: alpha is {alpha} and beta is {beta}, but neither can be negative")
        if batch_size is not None and batch_size < 1:
            raise UserError(f"der: batch_size is {batch_size}, but must be at least 1")
        exemplar_capacity(capacity, capacity_bytes, 1)
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self.alpha, self.beta, self._batch_size = alpha, beta, batch_size
        self.buffer = ExemplarBuffer(0, "reservoir")

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Make the buffer; an exemplar is an image, a label and a logit for each class."""
        size = int(np.prod(scenario.table.images.shape[1:])) + 8 + 4 * len(scenario.classes)
        self.buffer = ExemplarBuffer(exemplar_capacity(self._capacity, self._capacity_bytes, size), "reservoir")

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin the task's own draws; none of its samples has been offered."""
        self._draws = torch.Generator().manual_seed(learner.generator("der").initial_seed())
        self._offered = torch.zeros(len(learner.scenario.table), dtype=torch.bool)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The two rehearsal terms; then the batch's new samples are offered to the buffer."""
        loss = self._rehearse(learner, step) if len(self.buffer) else None
        self._offer(learner, step)
        return loss

    def _rehearse(self, learner: Learner, step: Step) -> Tensor:
        number = self._batch_size or len(step.batch)
        with_images = step.batch.images is not None
        chosen = self.buffer.draw(number, self._draws)
        again = learner.rehearse(self.buffer.batch(chosen, with_images))
        stored = self.buffer.logits[chosen][:, : again.logits.shape[1]].to(again.logits.device)
        known = ~stored.isnan()
        loss = self.alpha * F.mse_loss(again.logits.float()[known], stored[known])
        learner.gradient_samples += len(chosen)
        if self.beta:
            other = learner.rehearse(self.buffer.batch(self.buffer.draw(number, self._draws), with_images))
            loss = loss + self.beta * F.cross_entropy(other.logits.float(), other.batch.labels)
            learner.gradient_samples += len(other.batch)
        return loss

    def _offer(self, learner: Learner, step: Step) -> None:
        rows = step.batch.rows.cpu()
        new = ~step.batch.replayed.cpu() & ~self._offered[rows]
        if not new.any():
            return
        rows = rows[new]
        self._offered[rows] = True
        logits = torch.full((len(rows), len(learner.scenario.classes)), float("nan"))
        logits[:, : step.logits.shape[1]] = step.logits.detach()[new.to(step.logits.device)].float().cpu()
        labels = step.batch.labels.cpu()[new]
        self.buffer.offer(learner.images_of(rows.numpy()), labels, rows, self._draws, logits=logits)

    def stored_bytes(self) -> dict[str, int]:
        """Exemplars and their logits."""
        return {"exemplars": self.buffer.bytes, "logits": self.buffer.logit_bytes}

    def state_dict(self) -> dict[str, Any]:
        """The buffer."""
        return self.buffer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The buffer."""
        self.buffer.load_state_dict(state_dict)
