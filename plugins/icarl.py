"""iCaRL: incremental classifier and representation learning."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Batch, Learner, RehearsalPlugin, Scenario, Step, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import row_positions, tensor_bytes

NEVER = -1e30
"""Score of a class without exemplars, which is below that of any class with exemplars."""


class ICaRL(RehearsalPlugin):
    """Herded exemplars, distillation from the old model, and classification by the nearest mean of the exemplars.

    Rebuffi et al., "iCaRL: incremental classifier and representation learning" (CVPR 2017):

    * Algorithm 3: before each later task, the old model's sigmoid outputs for the task's images and for the exemplars
      are recorded once, without augmentation. The model is then trained on both with binary cross-entropy: against the
      recorded outputs for the old classes, and against the labels for the new ones. Here exemplars are added to each
      batch, where the paper shuffles them among the images.
    * Algorithms 4 and 5: exemplars are chosen by herding, and the capacity is divided among the classes.
    * Algorithm 1: the class with the nearest mean of exemplars is predicted; features are L2-normalized, and so is
      their mean. A class without exemplars is never predicted.

    It differs from the authors' code in three points. The loss is summed over the classes, as the paper writes it, and
    averaged over the batch; the authors' code also averages over the classes, which only changes the learning rate. As
    many exemplars as new images are rehearsed, where the paper's ratio is that of their numbers. Only classes seen so
    far have outputs that are trained (a growing head), where the authors' code trains all outputs as negatives from the
    start; ``head_classes: stream`` does so here.

    The learner's own cross-entropy is subtracted from the loss, with label smoothing if there is any, so that nothing
    of it remains; this needs ``training: {loss: global}``, the default.

    Args:
        capacity: Number of exemplars kept, over all classes, at least one for each; null if `capacity_bytes` is given.
            (Paper, CIFAR-100: 2,000; 500 is the default of all plugins that keep exemplars.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        batch_size: Number of exemplars added to each batch; null adds as many as the batch has samples of its own.
        mirror: Whether the mean of a class includes the mirror images of its exemplars, as in the authors' code. The
            paper's algorithm 1 uses the exemplars only, and a mirrored digit is not a digit.
    """

    traits = Traits(
        memory=("exemplars", "logits", "prototypes"),
        incompatible_with={
            "all data": "joint training has all data already",
            "exemplars": "iCaRL chooses and rehearses its own exemplars",
            "weights": "the means of the exemplars would not belong to the weights that are evaluated",
            "loss": "iCaRL's loss stands in place of the cross-entropy that it would be added to",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        paper="Rebuffi, CVPR 2017 (iCaRL)",
        scores="distance",
        buffer="herding",
        effects=("reads network",),
    )
    state = ("_means", "_bytes")

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        batch_size: int | None = None,
        mirror: bool = False,
    ) -> None:
        super().__init__("icarl", capacity, capacity_bytes, "herding")
        check_range("icarl", at_least=1, batch_size=batch_size)
        self.batch_size, self.mirror = batch_size, mirror
        self._targets, self._bytes = torch.zeros(0, 0), 0

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Create the buffer.

        Raises:
            UserError: If the cross-entropy is over the classes of the current task only.
        """
        if learner.options.loss != "global":
            raise UserError("icarl: training.loss must be global: its loss covers old and new classes")
        super().on_stream_start(learner, scenario)
        self._means = torch.zeros(len(scenario.classes), learner.backbone.width)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Record the old model's outputs for the task's images and for the exemplars (algorithm 3)."""
        super().on_task_start(learner, task)
        old = learner.scenario.seen_classes(task.index)
        self._targets = torch.zeros(0, 0)
        if not old:
            return
        indices = np.concatenate([task.train, self.buffer.indices.numpy()])
        features = learner.features_of(indices)
        with torch.no_grad():
            self._targets = learner.head(features)[:, :old].float().sigmoid()
        self._position = row_positions(len(learner.scenario.table), indices, features.device)
        self._bytes = tensor_bytes(self._targets)

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add exemplars to the batch."""
        return self.extend(batch, self.batch_size)

    def loss(self, learner: Learner, step: Step) -> Tensor:
        """Binary cross-entropy instead of the learner's loss: summed over the classes, averaged over the batch."""
        logits = step.logits.float()
        targets = F.one_hot(step.batch.labels, logits.shape[1]).float()
        if self._targets.numel():
            targets[:, : self._targets.shape[1]] = self._targets[self._position[step.batch.indices]]
        binary = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(targets)
        return binary - learner.classification_of(step)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Choose exemplars by herding and compute their means."""
        self._targets = torch.zeros(0, 0)
        self.buffer.add_task(learner, task, self.draws)
        stored = F.normalize(learner.features_of(self.buffer.indices.numpy()).cpu(), dim=1)
        if self.mirror:
            stored = stored + F.normalize(self._mirrored(learner).cpu(), dim=1)
        self._means.zero_()
        for label in torch.unique(self.buffer.labels).tolist():
            self._means[label] = F.normalize(stored[self.buffer.labels == label].mean(dim=0), dim=0)

    @torch.no_grad()
    def _mirrored(self, learner: Learner) -> Tensor:
        """Features ``[E, width]`` of the mirror images of the exemplars."""
        was_training = learner.training
        learner.eval()
        with learner.autocast():
            parts = [
                learner.backbone(learner.backbone.normalize(images.flip(-1).to(learner.device))).float()
                for images in self.buffer.images.split(learner.options.batch_size)
            ]
        learner.train(was_training)
        return torch.cat(parts)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Negative distance to the mean of each seen class's exemplars, ``[B, seen classes]`` (algorithm 1)."""
        features = F.normalize(learner.encode(batch).float(), dim=1)
        means = self._means[: learner.seen].to(features.device)
        return (-torch.cdist(features, means)).masked_fill(~means.any(dim=1), NEVER)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the exemplars, of their means, and of the old outputs kept while a task is trained."""
        means = len(torch.unique(self.buffer.labels)) * tensor_bytes(self._means[0])
        return super().stored_bytes() | {"logits": self._bytes, "prototypes": means}
