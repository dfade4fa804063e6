"""Class-incremental CLIP with adaptive representation adjustment and parameter fusion (RAPF)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.plugin import (
    Batch,
    Learner,
    Plugin,
    Scenario,
    Step,
    Task,
    TrainingPlan,
    Traits,
    check_range,
    classification_loss,
)
from clsuite.plugin.helpers import ClassGaussians, ClassTexts, TakenRows, clip_of, full_precision, multi_step


class RAPF(Plugin):
    """Trains one linear map of a frozen CLIP's image features, and fuses it with that of the earlier tasks.

    Huang et al., "Class-incremental learning with CLIP: adaptive representation adjustment and parameter fusion" (ECCV
    2024), as in the authors' code. The logits are scaled cosines of mapped image features to text features.

    * Mean and covariance of each class's frozen features are kept; an image that comes again does not count again. In
      later tasks, features drawn from some old classes join each batch; the cross-entropy is over all seen classes.
    * An old and a new class whose text features are nearer than `radius` are a hard pair. For features drawn from the
      old class of each pair, a hinge keeps the cosine to their own text above that to the new class's.
    * After each later task the map is fused: in the basis of the left singular vectors of the old map, entries of the
      new map are taken by how much they changed, relative to the largest change, plus `fuse_bias`, at most entirely;
      for the rest the old entries stay.

    The map begins with random values, without a skip connection: zero-shot accuracy is gone with the first task.
    Images that are not augmented are encoded once. The traits set what the authors train with: Adam with a rate of 1e-3
    without weight decay, times 0.1 at epochs 4 and 10 of 15, and 100 images in a batch (64 on ImageNet-R, 32 on CUB),
    with the template "a good photo of a {}.".

    Args:
        radius: Largest distance of the text features of a hard pair (authors: 0.55 on CIFAR-100, else 0.65).
        draws: Features that are drawn from an old class for a batch (authors: 20; 10 on ImageNet-R and CUB). Of each
            hard pair twice as many are drawn.
        old_classes: Old classes from which a batch gets features, in turn (authors: 2; 4 or 5 where tasks are small).
        hinge: Weight of the hinge (authors: 1).
        margin: Margin of the hinge (authors: 0.1).
        fuse_bias: Share that the new map has at least in the fusion (authors: 0.6 on CIFAR-100, 0.5 to 0.8 elsewhere).
        ridge: What is added to each variance for the draws (authors: 1e-4).
        shrink: Whether the means of variances and of covariances are added to them (authors: on ImageNet-R and CUB).
        first_drop: Epoch after which the rate is a tenth.
        second_drop: Epoch after which it is a hundredth.
    """

    traits = Traits(
        requires=("clip", "gradient"),
        memory=("weights", "statistics"),
        freezes_backbone=True,
        open_vocabulary=True,
        second_pass="it computes statistics of a task's images after the training",
        incompatible_with={"all data": "joint training has no old classes to draw features of"},
        training={"batch_size": 100, "optimizer": {"name": "adam", "lr": 1e-3, "weight_decay": 0.0}},
        paper="Huang, ECCV 2024 (RAPF)",
        effects=("adds modules", "trains by itself"),
    )
    state = ("_statistics", "_taken")

    def __init__(
        self,
        radius: float = 0.55,
        draws: int = 20,
        old_classes: int = 2,
        hinge: float = 1.0,
        margin: float = 0.1,
        fuse_bias: float = 0.6,
        ridge: float = 1e-4,
        shrink: bool = False,
        first_drop: int = 4,
        second_drop: int = 10,
    ) -> None:
        super().__init__()
        check_range("rapf", at_least=0, radius=radius, hinge=hinge, margin=margin, first_drop=first_drop)
        check_range("rapf", at_least=0, draws=draws, old_classes=old_classes, second_drop=second_drop)
        check_range("rapf", at_least=0, at_most=1, fuse_bias=fuse_bias)
        check_range("rapf", above=0, ridge=ridge)
        self.radius, self.draws, self.old_classes, self.hinge, self.margin = radius, draws, old_classes, hinge, margin
        self.fuse_bias, self.ridge, self.shrink, self.drops = fuse_bias, ridge, shrink, (first_drop, second_drop)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the CLIP and create the map."""
        clip = clip_of(learner.backbone, "plugin 'rapf'").requires_grad_(False)
        self._texts = ClassTexts(clip, scenario.class_names)
        bound, size = clip.width**-0.5, (clip.width, clip.width)
        self.map = nn.Linear(*size, bias=False, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            self.map.weight.uniform_(-bound, bound, generator=learner.generator("rapf"))
        learner.register_plugin_module(self, "map", self.map, role="features")
        self._statistics = ClassGaussians(clip.width, "full", self.ridge, "absolute")
        self._taken = TakenRows(len(scenario.table))

    def plan_training(self, learner: Learner, task: Task, plan: TrainingPlan) -> TrainingPlan:
        """Multiply the rate by 0.1 at two epochs."""
        return plan.with_options(schedule=multi_step(self.drops))

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Freeze the head, which is not used, keep the old map, and find hard pairs."""
        learner.head.requires_grad_(False)
        self._before, self._steps = self.map.weight.detach().clone(), 0
        known, new = self._statistics.labels.tolist(), set(task.classes)
        self._old = [label for label in known if label not in new]
        places = {label: place for place, label in enumerate(known)}
        spreads, means = self._statistics.spreads, self._statistics.means
        self._roots = {label: self._root(spreads[places[label]]).to(learner.device) for label in self._old}
        self._means = {label: means[places[label]].to(learner.device) for label in self._old}
        texts = self._texts.features(learner.seen)
        apart = torch.cdist(texts[self._old].double(), texts[list(task.classes)].double()).cpu()
        near = (apart < self.radius).nonzero().tolist()
        self._pairs = [(self._old[row], task.classes[column]) for row, column in near]

    def _root(self, covariance: Tensor) -> Tensor:
        """Cholesky root ``[width, width]`` of a covariance with the ridge, in float32."""
        wide = covariance.double()
        eye = torch.eye(len(wide)).to(wide)
        if self.shrink:
            variance = wide.diagonal().mean()
            rest = (wide.sum() - wide.diagonal().sum()) / max(1, wide.numel() - len(wide))
            wide = wide + variance * eye + rest * (1 - eye)
        root: Tensor = torch.linalg.cholesky(wide + self.ridge * eye)
        return root.float()

    def _drawn(self, label: int, number: int, generator: torch.Generator) -> Tensor:
        mean, root = self._means[label], self._roots[label]
        return mean + torch.randn(number, len(mean), generator=generator).to(mean) @ root.T

    def classification(self, learner: Learner, step: Step) -> Tensor:
        """The cross-entropy over all seen classes of the batch and of drawn features, and the hinge."""
        generator = learner.generator("rapf draws", self._steps)
        chosen = self._turn(learner)
        self._steps += 1
        features, labels = step.features.float(), step.batch.labels
        if chosen:
            drawn = torch.cat([self._drawn(label, self.draws, generator) for label in chosen])
            of_drawn = torch.tensor(chosen).repeat_interleave(self.draws).to(labels)
            features, labels = torch.cat([features, drawn]), torch.cat([labels, of_drawn])
        texts = self._texts.features(learner.seen)
        logits = clip_of(learner.backbone, "plugin 'rapf'").logits(self._mapped(features), texts)
        loss = classification_loss(logits, labels, learner.options.loss, learner.task.classes)  # type: ignore[union-attr]
        return loss + self.hinge * self._hinge(learner, texts, generator) if self._pairs and self.draws else loss

    def _turn(self, learner: Learner) -> list[int]:
        """The old classes whose turn it is: one after another in an order that is drawn again for each round."""
        chosen, number = list[int](), min(self.old_classes, len(self._old)) if self.draws else 0
        for place in range(self._steps * number, (self._steps + 1) * number):
            turn, position = divmod(place, len(self._old))
            order = torch.randperm(len(self._old), generator=learner.generator("rapf order", turn))
            chosen.append(self._old[int(order[position])])
        return chosen

    def _mapped(self, features: Tensor) -> Tensor:
        with full_precision(features):
            mapped: Tensor = self.map(features)
        return mapped

    def _hinge(self, learner: Learner, texts: Tensor, generator: torch.Generator) -> Tensor:
        """How far features of old classes are from being nearer to their text, by the margin; mean over all."""
        drawn = torch.cat([self._drawn(old, 2 * self.draws, generator) for old, _ in self._pairs])
        old, new = torch.tensor(self._pairs).repeat_interleave(2 * self.draws, dim=0).T.to(texts.device)
        with full_precision(drawn):
            unit = F.normalize(self._mapped(drawn), dim=1)
            return (self.margin - (unit * texts[old]).sum(dim=1) + (unit * texts[new]).sum(dim=1)).relu().mean()

    @torch.no_grad()
    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Fuse the map with the old one, and compute statistics of the task's classes."""
        if task.index:
            self.map.weight.copy_(fused(self._before.to(self.map.weight), self.map.weight, self.fuse_bias))
        rows = self._taken.new(task.train)
        if len(rows):
            self._statistics.add(learner.features_of(rows), learner.labels_of(rows))

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Scaled cosines ``[B, classes of the stream]`` of mapped image features to text features."""
        classes = learner.scenario.seen_classes(len(learner.scenario.tasks))
        return self._texts.logits(self._mapped(learner.encode(batch).float()), classes)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the map and of the statistics."""
        return {"weights": 4 * self.map.weight.numel(), "statistics": self._statistics.bytes}


def fused(old: Tensor, new: Tensor, bias: float) -> Tensor:
    """Fuse two maps ``[d, d]`` in the basis of the old one's left singular vectors; a share is at most 1."""
    left, singular, right = torch.linalg.svd(old.double())
    before, after = singular[:, None] * right, left.T @ new.double()
    change = (after - before).abs()
    share = (change / change.max().clamp_min(torch.finfo(change.dtype).tiny) + bias).clamp(max=1)
    mixed: Tensor = left @ (after * share + before * (1 - share))
    return mixed.to(new.dtype)
