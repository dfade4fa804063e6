"""iCaRL: incremental classifier and representation learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.data.buffer import ExemplarBuffer, exemplar_capacity
from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class ICaRL(Plugin):
    """Herded exemplars, distillation of the old model, and classification by the nearest mean of the exemplars.

    Rebuffi et al., "iCaRL: incremental classifier and representation learning" (CVPR 2017):

    * algorithm 3: before a later task the old model's sigmoid outputs of the task's images and of the exemplars are
      recorded (un-augmented, once); training is on both, by binary cross-entropy against the recorded outputs for the
      old classes and against the labels for the new ones. Here exemplars are added to each batch, where the paper
      shuffles them among the images;
    * algorithms 4 and 5: exemplars are chosen by herding, the capacity shared among the classes;
    * algorithm 1: the class whose exemplars' mean (of L2-normalised features, normalised) is nearest.

    The learner's own cross-entropy is taken back out of the loss: say ``training: {loss: global}``, the default.

    Args:
        capacity: Exemplars kept, over all classes; null where `capacity_bytes` is given. (Paper, CIFAR-100: 2,000.)
        capacity_bytes: Bytes kept instead.
        batch_size: Exemplars added to each batch; null adds as many as the batch has.
    """

    traits = Traits(
        stores=("exemplars", "logits", "prototypes"),
        forbids={
            "all data": "joint training has all data already",
            "exemplars": "iCaRL chooses and rehearses its own exemplars",
            "weights": "the means of the exemplars would not belong to the weights that are evaluated",
            "loss": "iCaRL's loss stands in place of the cross-entropy that it would be added to",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        paper="Rebuffi, CVPR 2017 (iCaRL)",
    )

    def __init__(
        self, capacity: int | None = 2000, capacity_bytes: int | None = None, batch_size: int | None = None
    ) -> None:
        super().__init__()
        if batch_size is not None and batch_size < 1:
            raise UserError(f"icarl: batch_size is {batch_size}, but must be at least 1")
        exemplar_capacity(capacity, capacity_bytes, 1)
        self._capacity, self._capacity_bytes, self._batch_size = capacity, capacity_bytes, batch_size
        self.buffer = ExemplarBuffer(0, "herding")
        self._means = torch.zeros(0, 0)
        self._targets, self._bytes = torch.zeros(0, 0), 0

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Make the buffer.

        Raises:
            UserError: If the cross-entropy is the current task's only.
        """
        if learner.options.loss != "global":
            raise UserError("icarl: training.loss must be global: its loss covers old and new classes")
        size = int(np.prod(scenario.table.images.shape[1:])) + 8
        self.buffer = ExemplarBuffer(exemplar_capacity(self._capacity, self._capacity_bytes, size), "herding")
        self._means = torch.zeros(len(scenario.classes), learner.backbone.width)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Record the old model's outputs of the task's images and of the exemplars (algorithm 3)."""
        self._draws = torch.Generator().manual_seed(learner.generator("icarl").initial_seed())
        old = learner.scenario.seen_classes(task.index)
        self._targets = torch.zeros(0, 0)
        if not old:
            return
        rows = np.concatenate([task.train, self.buffer.rows.numpy()])
        features = learner.features_of(rows)
        with torch.no_grad():
            self._targets = learner.head(features)[:, :old].float().sigmoid()
        self._position = torch.zeros(len(learner.scenario.table), dtype=torch.int64, device=features.device)
        self._position[torch.from_numpy(rows).to(features.device)] = torch.arange(len(rows), device=features.device)
        self._bytes = self._targets.numel() * self._targets.element_size()

    def training_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add exemplars."""
        if not len(self.buffer):
            return batch
        return batch.extended(*self.buffer.sample(self._batch_size or len(batch), self._draws))

    def loss(self, learner: Learner, step: Step) -> Tensor:
        """Binary cross-entropy in place of the learner's: a sum over the classes, a mean over the batch."""
        logits = step.logits.float()
        targets = F.one_hot(step.batch.labels, logits.shape[1]).float()
        if self._targets.numel():
            targets[:, : self._targets.shape[1]] = self._targets[self._position[step.batch.rows]]
        binary = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(targets)
        return binary - F.cross_entropy(logits, step.batch.labels)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Choose exemplars by herding and find their means."""
        self._targets = torch.zeros(0, 0)
        features, labels = learner.features_of(task.train).cpu(), learner.labels_of(task.train).cpu()
        rows = torch.from_numpy(task.train)
        self.buffer.offer(learner.images_of(task.train), labels, rows, self._draws, features=features)
        stored = F.normalize(learner.features_of(self.buffer.rows.numpy()).cpu(), dim=1)
        for label in torch.unique(self.buffer.labels).tolist():
            self._means[label] = F.normalize(stored[self.buffer.labels == label].mean(dim=0), dim=0)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Negative distance to the mean of each seen class's exemplars, ``[B, seen classes]`` (algorithm 1)."""
        features = F.normalize(learner.encode(batch).float(), dim=1)
        return -torch.cdist(features, self._means[: learner.head.classes].to(features.device))

    def stored_bytes(self) -> dict[str, int]:
        """Exemplars, their means, and the old outputs that are kept while a task is trained."""
        means = len(torch.unique(self.buffer.labels)) * self._means.shape[1] * self._means.element_size()
        return {"exemplars": self.buffer.bytes, "logits": self._bytes, "prototypes": means}

    def state_dict(self) -> dict[str, Any]:
        """Buffer, means, and the size of the last recorded outputs."""
        return {"buffer": self.buffer.state_dict(), "means": self._means, "bytes": self._bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Buffer, means, and the size of the last recorded outputs."""
        self.buffer.load_state_dict(state_dict["buffer"])
        self._means, self._bytes = state_dict["means"], state_dict["bytes"]
