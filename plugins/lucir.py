"""Learning a unified classifier incrementally via rebalancing (LUCIR)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import GrowingHead, Learner, Scenario, Step, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import DistillingRehearsal, head_weights


class LUCIR(DistillingRehearsal):
    """A cosine head, features that keep their direction, and a margin between old classes and the new ones.

    Hou et al., "Learning a unified classifier incrementally via rebalancing" (CVPR 2019), as in the authors' code. In
    later tasks the loss is, for the task's images and the exemplars together,

        CE + less_forget * sqrt(old classes / new classes) * mean (1 - cos(features, features of the old model))
           + ranking * mean over exemplars and their `hardest` new classes of max(0, margin - cos_true + cos_new)

    (equations 6, 7 and 8). The scale of the cosines is trained, and is in the cross-entropy alone. The weights of a new
    class begin as the mean of its normalized features, as long as the old classes' weights are on average; weights of
    old classes are not trained.

    The authors' scale begins with 1; here it begins as the benchmark says (``training.head_scale``, 10). Their last
    layer has no ReLU; features are used as the backbone gives them. Their fine-tuning on a balanced set at the end,
    which they use on ImageNet, and the nearest mean of exemplars as a second answer are left out.

    Args:
        capacity: Number of exemplars kept, over all classes; null if `capacity_bytes` is given. (Paper: 20 for each
            class; 500 is the default of all plugins that keep exemplars.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        buffer: How exemplars are chosen.
        mix: ``shuffled``: exemplars are among the training data, as in the paper. ``batch``: each batch gets as many as
            it has samples of its own, as in `replay`.
        less_forget: Weight of the features' term (authors: 5 on CIFAR-100, 10 on ImageNet).
        adapt: Whether that weight grows with the number of old classes.
        ranking: Weight of the margin's term (1).
        margin: The margin (0.5).
        hardest: Number of new classes that each exemplar is compared with, those of the largest cosines (2).
        imprint: Whether new weights begin as the means of features.
        freeze: Whether the weights of old classes are not trained.
    """

    traits = Traits(
        memory=("exemplars", "weights"),
        incompatible_with={
            "all data": "joint training has all data already",
            "adds modules": "the old model that is distilled would have the modules of the new task",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        paper="Hou, CVPR 2019 (LUCIR)",
        training={"head": "cosine"},
        lends=True,
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        buffer: Literal["reservoir", "class_balanced", "herding"] = "herding",
        mix: Literal["shuffled", "batch"] = "shuffled",
        less_forget: float = 5.0,
        adapt: bool = True,
        ranking: float = 1.0,
        margin: float = 0.5,
        hardest: int = 2,
        imprint: bool = True,
        freeze: bool = True,
    ) -> None:
        super().__init__("lucir", capacity, capacity_bytes, buffer, mix)
        check_range("lucir", at_least=0, less_forget=less_forget, ranking=ranking, margin=margin)
        check_range("lucir", at_least=1, hardest=hardest)
        self.less_forget, self.adapt, self.imprint, self.freeze = less_forget, adapt, imprint, freeze
        self.ranking, self.margin, self.hardest = ranking, margin, hardest

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Create the buffer.

        Raises:
            UserError: If the head is none of cosines, or has all classes from the start.
        """
        head_weights(learner, "lucir", cosine=True)
        if learner.options.head_classes != "seen":
            raise UserError("lucir: it freezes the weights of old classes: it needs training.head_classes: seen")
        super().on_stream_start(learner, scenario)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Freeze the weights of old classes, and imprint those of new ones."""
        super().on_task_start(learner, task)
        old = self.old_classes(learner)
        if old and self.freeze:
            learner.head.freeze(range(len(learner.head.sizes) - 1))
        if old and self.imprint:
            self._imprint(learner, task, old)

    @torch.no_grad()
    def _imprint(self, learner: Learner, task: Task, old: int) -> None:
        """Set the weights of new classes to the means of their normalized features, in the length of the old ones."""
        features = F.normalize(learner.features_of(task.train).float(), dim=1)
        labels, length = learner.labels_of(task.train), head_weights(learner, "lucir", cosine=True)[0][:old]
        means = torch.stack([features[labels == label].mean(dim=0) for label in range(old, learner.seen)])
        newest = learner.head.group_parameters(-1)[0]
        newest.copy_(F.normalize(means, dim=1) * torch.linalg.vector_norm(length, dim=1).mean())

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Both terms; none in the first task."""
        old, seen = self.old_classes(learner), learner.seen
        if not old:
            return None
        terms = []
        if self.less_forget:
            before = self.old.answers(learner, step.batch)[0]
            weight = self.less_forget * (math.sqrt(old / (seen - old)) if self.adapt else 1.0)
            terms.append(weight * (1 - F.cosine_similarity(step.features.float(), before, dim=1)).mean())
        exemplars = step.batch.labels < old
        if self.ranking and exemplars.any():
            assert isinstance(learner.head, GrowingHead)
            assert learner.head.scale is not None
            cosines = step.logits[exemplars].float() / learner.head.scale
            terms.append(self.ranking * self.ranked(cosines, step.batch.labels[exemplars], old))
        return torch.stack(terms).sum() if terms else None

    def ranked(self, cosines: Tensor, labels: Tensor, old: int) -> Tensor:
        """How far the hardest new classes are within the margin of the true old class, mean over both (equation 8).

        Args:
            cosines: ``[E, C]`` of exemplars.
            labels: ``[E]``, all of old classes.
            old: Number of old classes.
        """
        new = cosines[:, old:]
        hardest = new.topk(min(self.hardest, new.shape[1]), dim=1).values
        true = cosines.gather(1, labels[:, None])
        return F.relu(self.margin - true + hardest).mean()
