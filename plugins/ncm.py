"""Nearest class mean on frozen features (SimpleCIL)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits
from clsuite.plugin.helpers import TakenRows, full_precision

NEVER = -2.0


class NCM(Plugin):
    """Classifies by the cosine to class means of frozen features; nothing is trained.

    Zhou et al., "Revisiting class-incremental learning with pre-trained models" (IJCV 2024), section 4.1 (SimpleCIL):
    the prototype of a class is the mean feature of its training images. The means are running sums, so that a class
    that comes back in another domain is averaged over all its images; an image that occurs again does not count again.
    A class without an image so far is never predicted (its score is -2, less than any cosine).
    """

    traits = Traits(memory=("prototypes",), gradient_free=True, scores="cosine", paper="Zhou, IJCV 2024 (SimpleCIL)")
    state = ("_sums", "_numbers", "_taken")

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone; the head is not used."""
        learner.backbone.requires_grad_(False)
        self._sums = torch.zeros(len(scenario.classes), learner.backbone.width)
        self._numbers = torch.zeros(len(scenario.classes))
        self._taken = TakenRows(len(scenario.table))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the features of the task's new images to the sums of their classes."""
        indices = self._taken.new(task.train)
        if not len(indices):
            return
        features, labels = learner.features_of(indices).cpu(), learner.labels_of(indices).cpu()
        self._sums.index_add_(0, labels, features)
        self._numbers += torch.bincount(labels, minlength=len(self._numbers))

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Cosine to the mean of each seen class, ``[B, seen classes]``."""
        features, seen = learner.encode(batch).float(), learner.seen
        means = self._sums[:seen] / self._numbers[:seen, None].clamp_min(1)
        with full_precision(features):
            cosines = F.normalize(features, dim=1) @ F.normalize(means, dim=1).to(features.device).T
        return cosines.masked_fill((self._numbers[:seen] == 0).to(features.device), NEVER)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the sums and image counts of the seen classes."""
        seen = int((self._numbers > 0).sum())
        return {"prototypes": seen * (self._sums.shape[1] + 1) * self._sums.element_size()}
