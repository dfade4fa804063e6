"""Mahalanobis classification with a covariance of each class (FeCAM)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.precision import full_precision
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class FeCAM(Plugin):
    """Classifies frozen features by the Mahalanobis distance to class means, each class with its own covariance.

    Goswami et al., "FeCAM: exploiting the heterogeneity of class distributions in exemplar-free continual learning"
    (NeurIPS 2023), equations 5 (distance), 6 (shrinkage) and 7 (normalisation to correlations). As in the authors'
    experiments with ViTs, features are L2-normalised and Tukey's transform is left out. A class that comes back in
    another domain is described by all its images: sums are kept, not means.

    Args:
        gamma1: Share of the mean variance that is added to the diagonal (authors, ViT: 1).
        gamma2: Share of the mean covariance that is added beside the diagonal (authors, ViT: 0).
    """

    traits = Traits(stores=("statistics",), gradient_free=True, paper="Goswami, NeurIPS 2023 (FeCAM)")

    def __init__(self, gamma1: float = 1.0, gamma2: float = 0.0) -> None:
        super().__init__()
        if gamma1 <= 0:
            raise UserError(f"fecam: gamma1 is {gamma1}, but must be positive: a class has fewer images than features")
        self.gamma1, self.gamma2 = gamma1, gamma2
        self._numbers, self._sums, self._squares = torch.zeros(0), torch.zeros(0, 0), torch.zeros(0, 0, 0)
        self._precision = torch.zeros(0, 0, 0)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone; the head is not used."""
        learner.backbone.requires_grad_(False)
        classes, width = len(scenario.classes), learner.backbone.width
        self._numbers, self._sums = torch.zeros(classes), torch.zeros(classes, width, dtype=torch.float64)
        self._squares = torch.zeros(classes, width, width, dtype=torch.float64)
        self._precision = torch.zeros(classes, width, width)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the statistics of the task's classes and invert their covariances."""
        features = F.normalize(learner.features_of(task.train).cpu().double(), dim=1)
        labels = learner.labels_of(task.train).cpu()
        for label in task.classes:
            own = features[labels == label]
            self._numbers[label] += len(own)
            self._sums[label] += own.sum(dim=0)
            self._squares[label] += own.T @ own
            self._precision[label] = torch.linalg.inv(self._correlations(label)).float()

    def _correlations(self, label: int) -> Tensor:
        number, mean = self._numbers[label], self._sums[label] / self._numbers[label]
        covariance = (self._squares[label] - number * torch.outer(mean, mean)) / (number - 1).clamp_min(1)
        width = len(mean)
        beside = (covariance.sum() - covariance.trace()) / (width * (width - 1))
        eye = torch.eye(width, dtype=covariance.dtype)
        if covariance.diagonal().mean() < 1e-12:  # one image, or the same again: shrunk, nothing goes with anything
            return eye
        shrunk = covariance + self.gamma1 * covariance.diagonal().mean() * eye + self.gamma2 * beside * (1 - eye)
        deviation = shrunk.diagonal().sqrt().clamp_min(1e-12)
        return shrunk / torch.outer(deviation, deviation) + 1e-9 * eye

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Negative squared distances to the seen classes, ``[B, seen classes]``."""
        features, seen = learner.encode(batch).float(), learner.head.classes
        means = (self._sums[:seen] / self._numbers[:seen, None].clamp_min(1)).float().to(features.device)
        with full_precision(features):
            away = F.normalize(features, dim=1)[None] - means[:, None]
            return -((away @ self._precision[:seen].to(features.device)) * away).sum(dim=2).T

    def stored_bytes(self) -> dict[str, int]:
        """Sums and squares of the classes seen."""
        seen = int((self._numbers > 0).sum())
        width = self._sums.shape[1]
        return {"statistics": seen * (8 * width * (width + 1) + 4)}

    def state_dict(self) -> dict[str, Any]:
        """Sums, squares and inverted covariances."""
        names = ("numbers", "sums", "squares", "precision")
        return {name: getattr(self, f"_{name}") for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Sums, squares and inverted covariances."""
        for name, value in state_dict.items():
            setattr(self, f"_{name}", value)
