"""Linear discriminant analysis from sums of features, and the base class of its plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from clsuite.learner.analytic import FeatureSums
from clsuite.learner.analytic_plugin import NEVER, AnalyticPlugin

if TYPE_CHECKING:
    from clsuite.learner.learner import Learner

Target = Literal["identity", "variance", "added"]
"""What a covariance is shrunk to."""
Around = Literal["within", "total"]
"""Whether a covariance is around the class means, or around the mean of all images."""
Priors = Literal["equal", "counts"]
"""Class priors."""


class Discriminant:
    """A linear discriminant analysis: its sums, and the classifier that was solved from them.

    With the precision ``L``, the inverse of the covariance, the score of a class with mean m is
    ``(L m)' f - m' L m / 2``. Features and means are centered on the mean of all images, which changes no prediction
    and keeps the numbers small.

    Attributes:
        sums: The sums of the features, with one-hot targets.
    """

    def __init__(self, width: int, classes: int) -> None:
        """Start with no features, for features of a width and a number of classes."""
        self.sums = FeatureSums(width, classes)
        self._weights, self._biases = torch.zeros(classes, width), torch.full((classes,), NEVER)
        self._center = torch.zeros(width)

    def covariance(self, numbers: Tensor, around: Around = "within") -> Tensor:
        """The covariance, float64 ``[M, M]``.

        Args:
            numbers: Number of images of each class, ``[C]``.
            around: ``within``: around the class means, divided by the number of images; ``total``: around the mean of
                all images, divided by that number less one.
        """
        total = numbers.sum()
        if around == "total":
            center = self.sums.sums.sum(dim=1) / total
            return (self.sums.products - total * torch.outer(center, center)) / (total - 1).clamp_min(1)
        means = self.sums.sums / numbers.clamp_min(1)
        return (self.sums.products - self.sums.sums @ means.T) / total

    def varies(self, covariance: Tensor, numbers: Tensor) -> bool:
        """Whether the variances of a covariance are more than the rounding errors of the sums."""
        least = float(self.sums.products.trace()) * torch.finfo(covariance.dtype).eps
        return float(covariance.diagonal().mean()) > least / min(float(numbers.sum()), len(covariance))

    def shrink_base(self, numbers: Tensor) -> None:
        """Shrink the covariance of the features so far by OAS, in the sums: later features are added to the result."""
        plain, total = self.covariance(numbers), float(numbers.sum())
        estimated = shrunk(plain, oas_shrinkage(plain, total), float(plain.diagonal().mean()))
        self.sums.products += total * (estimated - plain)

    def solve(self, numbers: Tensor, covariance: Tensor, priors: Priors = "equal", singular: bool = False) -> None:
        """Solve for the classifier.

        Args:
            numbers: Number of images of each class, ``[C]``; classes without any get no score.
            covariance: The covariance that all classes share, ``[M, M]``.
            priors: Class priors: equal, or each class's share of the images.
            singular: Whether the covariance may be singular: its pseudo-inverse is the precision then.
        """
        met = numbers > 0
        center = self.sums.sums.sum(dim=1) / numbers.sum()
        means = (self.sums.sums[:, met] / numbers[met]).T - center
        if singular:
            weights = means @ torch.linalg.pinv(covariance, hermitian=True)
        else:
            weights = torch.linalg.solve(covariance, means.T).T
        biases = -(weights * means).sum(dim=1) / 2
        if priors == "counts":
            biases += (numbers[met] / numbers.sum()).log()
        self._weights[met], self._biases[met] = weights.float(), biases.float()
        self._center = center.float()

    def scores(self, features: Tensor, seen: int) -> Tensor:
        """Discriminant scores ``[B, seen]`` of features ``[B, M]`` for the first classes."""
        weights, biases = self._weights[:seen].to(features.device), self._biases[:seen].to(features.device)
        return (features - self._center.to(features.device)) @ weights.T + biases

    def state_dict(self) -> dict[str, Any]:
        """Sums and classifier, for a checkpoint."""
        solved = {"weights": self._weights, "biases": self._biases, "center": self._center}
        return {"sums": self.sums.state_dict(), **solved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore sums and classifier."""
        self.sums.load_state_dict(state["sums"])
        self._weights, self._biases, self._center = state["weights"], state["biases"], state["center"]

    def bytes_of(self, classes: int) -> int:
        """Bytes of the image counts and sums of a number of classes, and of the sum of products."""
        width = len(self.sums.products)
        return 8 * (classes * (width + 1) + width * width)


class DiscriminantPlugin(AnalyticPlugin):
    """Linear discriminant analysis of frozen features, of which a subclass may take others (`width`, `project`)."""

    state: ClassVar[tuple[str, ...]] = ("_lda",)
    shrinkage: float | None = None
    target: Target = "identity"
    priors: Priors = "equal"
    around: Around = "within"
    base: bool = False

    def prepare(self, learner: Learner, classes: int) -> None:
        """Create the sums."""
        self._lda = Discriminant(self.width(learner), classes)

    def width(self, learner: Learner) -> int:
        """M, the length of a projected feature; by default features are not projected."""
        return learner.backbone.width

    def project(self, features: Tensor) -> Tensor:
        """Projected features ``[N, M]`` of features ``[N, d]``."""
        return features

    def learn(self, learner: Learner, features: Tensor, labels: Tensor) -> None:
        """Add features ``[N, d]`` with labels ``[N]`` to the sums, and solve for the classifier."""
        first = self._lda.sums.images == 0
        self._lda.sums.add(self.project(features), self.one_hot(labels))
        if self.base and first:
            self._lda.shrink_base(self._numbers)
        self._lda.solve(self._numbers, self.covariance(), self.priors)

    def covariance(self) -> Tensor:
        """The shrunk covariance, ``[M, M]``; the identity if no class varies, which gives the nearest class mean."""
        plain = self._lda.covariance(self._numbers, self.around)
        if self.target == "added" and self.shrinkage is not None:
            return plain + self.shrinkage * torch.eye(len(plain), dtype=plain.dtype)
        if not self._lda.varies(plain, self._numbers):
            return torch.eye(len(plain), dtype=plain.dtype)
        share = oas_shrinkage(plain, float(self._numbers.sum())) if self.shrinkage is None else self.shrinkage
        scaled = self.target != "identity" or self.shrinkage is None
        return shrunk(plain, share, float(plain.diagonal().mean()) if scaled else 1.0)

    def scores(self, features: Tensor, seen: int) -> Tensor:
        """Discriminant scores ``[B, seen]`` of features ``[B, d]``."""
        return self._lda.scores(self.project(features), seen)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the image counts and the feature sums of the seen classes, and of the sum of products."""
        return {"statistics": self._lda.bytes_of(int((self._numbers > 0).sum()))}


def shrunk(covariance: Tensor, share: float, scale: float) -> Tensor:
    """A covariance ``[M, M]`` with a share of the identity, times a scale, in place of the same share of it."""
    return (1 - share) * covariance + share * scale * torch.eye(len(covariance), dtype=covariance.dtype)


def oas_shrinkage(covariance: Tensor, samples: float) -> float:
    """The oracle approximating shrinkage (OAS) for a covariance ``[width, width]`` of a number of samples."""
    width = len(covariance)
    square, squared_mean = float(covariance.square().mean()), (float(covariance.trace()) / width) ** 2
    below = (samples + 1) * (square - squared_mean / width)
    return 1.0 if below <= 0 else min((square + squared_mean) / below, 1.0)
