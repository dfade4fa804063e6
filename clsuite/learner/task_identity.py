"""Tells the task of an image from features that stay: a small network behind a frozen backbone."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.learner.alignment import AlignmentSettings, train_on_drawn
from clsuite.learner.class_gaussians import ClassGaussians
from clsuite.learner.learner import Learner
from clsuite.learner.precision import full_precision

IdentityForm = Literal["plain", "residual", "linear"]
"""Of the two layers: with ReLU behind each; added to the feature and normalized, with GELU between them; none."""


class TaskIdentity(nn.Module):
    """Two layers with twice the width between them and a linear one, over all classes of the stream (HiDe).

    The class that it predicts says which task an image is of. Register it with ``role="features"``; it is trained by
    its own methods, or by a loop of the plugin's.

    Attributes:
        owners: Task of each class, -1 where it has not been learned.
    """

    owners: Tensor

    def __init__(self, width: int, classes: int, generator: torch.Generator, form: IdentityForm = "plain") -> None:
        """Draw the first weights as PyTorch does, from a source of one's own; biases are 0.

        Args:
            width: Length of a feature.
            classes: Number of classes of the stream.
            generator: Source of the first weights.
            form: How the two layers act, or that there are none.
        """
        super().__init__()
        sizes = (width, 2 * width, width, classes)
        first, second, last = (_linear(*pair, generator) for pair in pairwise(sizes))
        plain, both = (first, nn.ReLU(), second, nn.ReLU()), nn.Sequential(first, nn.GELU(), second)
        forms: dict[IdentityForm, tuple[nn.Module, ...]] = {"plain": plain, "residual": (_Residual(both, width),)}
        self.layers = nn.Sequential(*forms.get(form, ()), last)
        self.register_buffer("owners", torch.full((classes,), -1))
        self.requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[B, classes]``; classes that have not been learned are never the largest."""
        logits: Tensor = self.layers(features)
        return logits.masked_fill(self.owners < 0, -torch.inf)

    def tasks_of(self, features: Tensor) -> Tensor:
        """The task ``[B]`` of the class that is predicted for each feature."""
        with full_precision(features):
            return self.owners[self(features.float()).argmax(dim=1)]

    def learn(
        self,
        features: Tensor,
        labels: Tensor,
        task: int,
        *,
        epochs: int,
        lr: float,
        batch_size: int,
        generator: torch.Generator,
    ) -> None:
        """Learn the classes of a task among each other, by Adam with a constant rate.

        Args:
            features: ``[N, width]``.
            labels: Their classes ``[N]``.
            task: Number of the task.
            epochs: Number of epochs.
            lr: Learning rate.
            batch_size: Features in a batch.
            generator: Source of their order.
        """
        labels, device = labels.cpu(), self.owners.device
        classes = labels.unique()
        self.owners[classes.to(device)] = task
        places = torch.searchsorted(classes, labels)
        self.requires_grad_(True)
        optimizer = torch.optim.Adam(self.parameters(), lr=lr)
        for _ in range(epochs):
            for chosen in torch.randperm(len(labels), generator=generator).split(batch_size):
                optimizer.zero_grad()
                logits = self.layers(features[chosen.to(device)])[:, classes.to(device)]
                F.cross_entropy(logits, places[chosen].to(device)).backward()
                optimizer.step()
        self._rest()

    def align(
        self, learner: Learner, gaussians: ClassGaussians, settings: AlignmentSettings, generator: torch.Generator
    ) -> None:
        """Train all layers on features drawn for all classes learned; arguments as of `align_head`."""
        self.requires_grad_(True)
        train_on_drawn(learner, list(self.parameters()), self, gaussians, settings, generator)
        self._rest()

    def _rest(self) -> None:
        self.requires_grad_(False)
        for parameter in self.parameters():
            parameter.grad = None


class _Residual(nn.Module):
    """Layers whose output is added to what they are given, and the sum normalized."""

    def __init__(self, layers: nn.Module, width: int) -> None:
        super().__init__()
        self.layers, self.norm = layers, nn.LayerNorm(width, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        normalized: Tensor = self.norm(features + self.layers(features))
        return normalized


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    layer, bound = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu"), 1 / math.sqrt(inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
    return layer
