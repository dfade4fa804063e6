"""Linear discriminant analysis of random Fourier features (RanDumb)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.plugin import Learner, Traits, check_range
from clsuite.plugin.helpers import DiscriminantPlugin, FourierFeatures, compute_features

AT_ONCE = 512
"""Number of images that are mirrored at once."""


class RanDumb(DiscriminantPlugin):
    """`lda` of random Fourier features: class means and one covariance, shrunk by OAS, that all classes share.

    Prabhu et al., "Random representations outperform online continually learned representations" (NeurIPS 2024). The
    features of the frozen backbone are mapped to random Fourier features, which approximate the RBF kernel, and
    classified by the Mahalanobis distance to the class means.

    Differences: the authors' code shrinks the covariance of each class by OAS and averages these, and weights classes
    by their numbers of images; here the covariance of all classes is shrunk, as in `lda`, with equal weights. The paper
    also classifies random features of raw pixels, which is left out. An image that occurs again does not count again.

    Args:
        projection: M, the number of random features (authors' code: 10,000, their runs: 25,000; the memory is M^2
            numbers of eight bytes).
        gamma: Gamma of the kernel; null takes 1 / (width times variance) of the first task's features (authors: of all
            features).
        flip: Whether mirrored images count too, as in the authors' runs with augmentation.
    """

    traits = Traits(memory=("statistics",), gradient_free=True, scores="logits", paper="Prabhu, NeurIPS 2024 (RanDumb)")
    state = ("_fourier",)

    def __init__(self, projection: int = 10_000, gamma: float | None = None, flip: bool = False) -> None:
        super().__init__()
        check_range("randumb", at_least=1, projection=projection)
        check_range("randumb", above=0, gamma=gamma)
        self.projection, self.gamma, self.flip = projection, gamma, flip

    def prepare(self, learner: Learner, classes: int) -> None:
        """Draw the random features and create the sums."""
        generator = learner.generator("fourier features")
        self._fourier = FourierFeatures(learner.backbone.width, self.projection, self.gamma, generator)
        super().prepare(learner, classes)

    def width(self, learner: Learner) -> int:
        """M."""
        return self.projection

    def project(self, features: Tensor) -> Tensor:
        """Random Fourier features ``[N, M]`` of features ``[N, d]``."""
        return self._fourier(features)

    def training_features(self, learner: Learner, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Features and labels of rows of the table, and of their mirrored images."""
        features, labels = super().training_features(learner, indices)
        if not self.flip:
            return features, labels
        parts = [indices[start : start + AT_ONCE] for start in range(0, len(indices), AT_ONCE)]
        mirrored = (learner.images_of(part).flip(-1).cpu().numpy() for part in parts)
        others = [compute_features(learner.backbone, images, np.arange(len(images))).cpu() for images in mirrored]
        return torch.cat([features, *others]), labels.repeat(2)

    def learn(self, learner: Learner, features: Tensor, labels: Tensor) -> None:
        """Take gamma from the first features, add to the sums, and solve for the classifier."""
        self._fourier.fit(features)
        super().learn(learner, features, labels)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the sums and of the random features' weights."""
        return {"statistics": super().stored_bytes()["statistics"] + self._fourier.bytes}
