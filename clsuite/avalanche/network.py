"""The network that a strategy trains: the run's backbone under a head of Avalanche's, with the run's first values."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.models import DynamicModule, IncrementalClassifier
from avalanche.models.base_model import BaseModel
from torch import Tensor, nn

from clsuite.backbones.vit import Backbone
from clsuite.learner.head import GrowingHead
from clsuite.learner.heads import make_head
from clsuite.learner.learner import Learner
from clsuite.learner.precision import autocast


class GradientCounter:
    """Counts the images whose gradient passes through the backbone; all copies of a network share it.

    Attributes:
        samples: Their number so far.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.samples = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> GradientCounter:
        """Return the same counter."""
        return self

    def watch(self, features: Tensor) -> None:
        """Count the images of features ``[B, width]`` at each backward pass that reaches them."""
        if features.requires_grad:
            features.register_hook(self._passed)

    def _passed(self, gradient: Tensor) -> None:
        self.samples += len(gradient)


class Features(nn.Module):
    """The backbone in the run's precision: maps normalized images ``[B, 3, H, W]`` to float32 features ``[B, width]``.

    Attributes:
        backbone: The backbone; that of the learner unless a strategy has copied the network.
        precision: The run's precision, as in the training options.
    """

    def __init__(self, backbone: Backbone, precision: str, counter: GradientCounter) -> None:
        """Put a counter behind a backbone."""
        super().__init__()
        self.backbone, self.precision = backbone, precision
        self._counter = counter

    def forward(self, images: Tensor) -> Tensor:
        """Compute features."""
        with autocast(self.precision, images.device):
            features: Tensor = self.backbone(images)
        self._counter.watch(features)
        return features.float()


class Network(DynamicModule, BaseModel):  # type: ignore[misc]
    """Features and a classifier, as Avalanche's plugins expect them.

    Attributes:
        features: The backbone.
        classifier: The head.
    """

    def __init__(self, features: Features, classifier: nn.Module) -> None:
        """Put the two together."""
        super().__init__()
        self.features, self.classifier = features, classifier

    def forward(self, images: Tensor) -> Tensor:
        """Map images to float32 logits; the head computes in the run's precision too."""
        features = self.features(images)
        with autocast(self.features.precision, images.device):
            logits: Tensor = self.classifier(features)
        return logits.float()

    def get_features(self, images: Tensor) -> Tensor:
        """Map images to features, under the name that Avalanche's LFL calls."""
        features: Tensor = self.features(images)
        return features


def first_weights(learner: Learner) -> tuple[Tensor, Tensor]:
    """Weights ``[classes, width]`` and biases of all classes, as the growing head gets them task by task."""
    head = make_head(learner.backbone, learner.options)
    assert isinstance(head, GrowingHead)
    whole = learner.options.head_classes == "stream"
    for task in learner.scenario.tasks:
        seen = len(learner.scenario.classes) if whole else learner.scenario.seen_classes(task.index + 1)
        if new := seen - head.classes:
            head.grow(new, torch.Generator().manual_seed(learner.seed_for("head", "head", task.index)))
    groups: list[Any] = list(head.groups)
    weights, biases = torch.cat([group.weight for group in groups]), torch.cat([group.bias for group in groups])
    return weights.detach(), biases.detach()


def make_classifier(learner: Learner, masked: bool) -> IncrementalClassifier:
    """Avalanche's incremental classifier with a column for each class of the stream.

    It has all columns from the start, because some strategies store logits or copy the network before it grows. If it
    is masked, the columns of classes that are not seen yet get -1000, so that these do not compete: it then trains as a
    growing head does.

    Args:
        learner: The model.
        masked: Whether only classes that have been seen compete.
    """
    weights, biases = first_weights(learner)
    classifier = IncrementalClassifier(learner.backbone.width, len(weights), masking=masked)
    with torch.no_grad():
        classifier.classifier.weight.copy_(weights)
        classifier.classifier.bias.copy_(biases)
    return classifier


@torch.no_grad()
def write_back(learner: Learner, model: nn.Module) -> None:
    """Copy what a strategy has trained into the learner, if it has trained a copy; the head has seen classes only.

    Args:
        learner: The model.
        model: The strategy's network.
    """
    parts = list(model.modules())
    trained = next((part.backbone for part in parts if isinstance(part, Features)), learner.backbone)
    if trained is not learner.backbone:
        learner.backbone.load_state_dict(trained.state_dict())
    heads = [part.classifier for part in parts if isinstance(part, IncrementalClassifier)]
    first = 0
    for group in learner.head.groups if heads and isinstance(learner.head, GrowingHead) else ():
        assert isinstance(group, nn.Linear)
        last = first + group.out_features
        group.weight.copy_(heads[0].weight[first:last])
        group.bias.copy_(heads[0].bias[first:last])
        first = last
