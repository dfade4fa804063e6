"""Mahalanobis classification with a covariance of each class (FeCAM)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, UserError
from clsuite.plugin.helpers import TakenRows, full_precision

NEVER = -1e30
LEAST = 1e-12
"""Mean variance below which features are taken to be equal: there are no correlations."""


class FeCAM(Plugin):
    """Classifies frozen features by the Mahalanobis distance to class means, each class with its own covariance.

    Goswami et al., "FeCAM: exploiting the heterogeneity of class distributions in exemplar-free continual learning"
    (NeurIPS 2023), equations 5 (distance), 6 (shrinkage) and 7 (normalization to correlations). As in the authors'
    experiments with ViTs, features are L2-normalized and Tukey's transform is left out by default. The mean of a class
    is taken over all its images; an image that occurs again does not count again. A class without an image so far is
    never predicted. A class whose features do not vary gets the identity as its correlation matrix.

    Args:
        gamma1: Shrinkage of the diagonal: the factor of the mean variance that is added to it. The authors' scripts for
            ViTs use 1 for CIFAR-100 and CORe50, and 10 for ImageNet-R, for both factors.
        gamma2: Shrinkage off the diagonal: the factor of the mean covariance that is added there. (The default is 0;
            for ImageNet-R 10.)
        domains: The covariance of a class whose domains come one after another (domain-incremental streams).
            ``averaged``: the mean of its shrunk covariance so far and that of the new domain, so that the last domain
            has a weight of one half (the authors, CORe50). ``pooled``: the covariance of all its images, which includes
            the distances between domains. In a blurry stream the parts of a class are not domains, and the covariance
            is pooled.
        covariance: ``class``: each class has its own. ``common``, the paper's variant: all share the mean of the
            tasks' covariances, by their numbers of classes. As in the authors' code, that of a task is taken of all its
            images around their common mean, shrunk, and not normalized to correlations; unlike there, it is of
            normalized features, and the first task's is shrunk too. `lda` has one around the class means.
        tukey: Exponent of Tukey's transform of non-negative features, applied before they are normalized; null leaves
            it out. (Authors: 0.5 for convolutional networks, from the second task on; they transform the mean feature,
            where here the mean is taken of transformed features.)
    """

    traits = Traits(
        memory=("statistics",), gradient_free=True, scores="distance", paper="Goswami, NeurIPS 2023 (FeCAM)"
    )
    state = ("_numbers", "_sums", "_spreads", "_precision", "_taken", "_shared")

    def __init__(
        self,
        gamma1: float = 1.0,
        gamma2: float = 0.0,
        domains: Literal["averaged", "pooled"] = "averaged",
        tukey: float | None = None,
        covariance: Literal["class", "common"] = "class",
    ) -> None:
        super().__init__()
        if gamma1 <= 0:
            raise UserError(f"fecam: gamma1 is {gamma1}, but must be positive: a class has fewer images than features")
        if tukey is not None and tukey <= 0:
            raise UserError(f"fecam: tukey is {tukey}, but must be positive, or null")
        self.gamma1, self.gamma2, self.domains, self.tukey = gamma1, gamma2, domains, tukey
        self.covariance = covariance

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone; the head is not used."""
        learner.backbone.requires_grad_(False)
        classes, width = len(scenario.classes), learner.backbone.width
        self._numbers, self._sums = torch.zeros(classes), torch.zeros(classes, width, dtype=torch.float64)
        kept = classes if self.covariance == "class" else 1
        self._spreads = torch.zeros(kept, width, width, dtype=torch.float64)
        self._precision, self._shared = torch.zeros(kept, width, width), 0
        self._taken = TakenRows(len(scenario.table))
        self._averages = self.domains == "averaged" and scenario.kind != "blurry"

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the statistics of the task's new images and invert the covariances of their classes.

        Raises:
            UserError: If `tukey` is set and a feature is negative.
        """
        indices = self._taken.new(task.train)
        if not len(indices):
            return
        features = learner.features_of(indices).cpu().double()
        if self.tukey is not None and bool((features < 0).any()):
            raise UserError(
                "fecam: tukey is a power, but this backbone has negative features: leave it out, as for ViTs"
            )
        features = self._normalized(features)
        labels = learner.labels_of(indices).cpu()
        if self.covariance == "common":
            self._take_common(features, labels)
            return
        for label in labels.unique().tolist():
            covariance = self._take(label, features[labels == label])
            self._precision[label] = torch.linalg.inv(correlations(covariance)).float()

    def _normalized(self, features: Tensor) -> Tensor:
        return F.normalize(features if self.tukey is None else features.clamp_min(0) ** self.tukey, dim=1)

    def _take(self, label: int, own: Tensor) -> Tensor:
        """Add features ``[N, width]`` of a class to its statistics; returns its shrunk covariance."""
        known = bool(self._numbers[label] > 0)
        self._numbers[label] += len(own)
        self._sums[label] += own.sum(dim=0)
        squares = own.T @ own
        if self._averages:
            new = self._shrunk(squares, own.sum(dim=0), len(own))
            self._spreads[label] = (self._spreads[label] + new) / 2 if known else new
            return self._spreads[label]
        self._spreads[label] += squares
        return self._shrunk(self._spreads[label], self._sums[label], float(self._numbers[label]))

    def _take_common(self, features: Tensor, labels: Tensor) -> None:
        """Add features ``[N, width]`` of a task to the covariance that all classes share, and invert it."""
        self._numbers += labels.bincount(minlength=len(self._numbers))
        self._sums.index_add_(0, labels, features)
        new, classes = self._shrunk(features.T @ features, features.sum(dim=0), len(features)), len(labels.unique())
        self._shared += classes
        self._spreads[0].lerp_(new, classes / self._shared)
        varies = bool(self._spreads[0].diagonal().mean() >= LEAST)
        self._precision[0] = torch.linalg.inv(self._spreads[0]) if varies else torch.eye(len(new))

    def _shrunk(self, squares: Tensor, sums: Tensor, number: float) -> Tensor:
        """The shrunk covariance (equation 6) of a number of images, from the sums of their products and features."""
        mean, width = sums / number, len(sums)
        covariance = (squares - number * torch.outer(mean, mean)) / max(number - 1, 1)
        variance = covariance.diagonal().mean()
        beside = (covariance.sum() - covariance.trace()) / (width * (width - 1))
        eye = torch.eye(width, dtype=covariance.dtype)
        return covariance + self.gamma1 * variance * eye + self.gamma2 * beside * (1 - eye)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Negative squared distances to the seen classes, ``[B, seen classes]``."""
        features, seen = learner.encode(batch).float(), learner.seen
        means = (self._sums[:seen] / self._numbers[:seen, None].clamp_min(1)).float().to(features.device)
        with full_precision(features):
            away = self._normalized(features)[None] - means[:, None]
            distances = ((away @ self._precision[:seen].to(features.device)) * away).sum(dim=2).T
        return (-distances).masked_fill((self._numbers[:seen] == 0).to(features.device), NEVER)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the sums and the covariances of the seen classes."""
        seen = int((self._numbers > 0).sum())
        width = self._sums.shape[1]
        squares = seen if self.covariance == "class" else int(self._shared > 0)
        return {"statistics": seen * (8 * width + 4) + squares * 8 * width * width}


def correlations(covariance: Tensor) -> Tensor:
    """A covariance ``[width, width]`` normalized to correlations (equation 7)."""
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    if covariance.diagonal().mean() < LEAST:  # a single image, or equal ones: there are no correlations
        return eye
    deviation = covariance.diagonal().sqrt().clamp_min(1e-12)
    return covariance / torch.outer(deviation, deviation) + 1e-9 * eye
