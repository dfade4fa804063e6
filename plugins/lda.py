"""Streaming linear discriminant analysis on frozen features (SLDA), and the classifier of first-session adaptation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, UserError
from clsuite.plugin.helpers import TakenRows, full_precision

NEVER = -1e30


class LDA(Plugin):
    """Classifies frozen features by class means and one shrunk covariance that all classes share.

    Class means and the covariance are kept as running sums. With the precision ``L``, the inverse of the shrunk
    covariance, the score of a class with mean m is ``(L m)' f - m' L m / 2``. Features and means are centered on the
    mean of all images, which changes no prediction and keeps the numbers small. An image that occurs again does not
    count again. The classifier is solved in double precision. The arguments select one of these methods:

    * Hayes & Kanan, "Lifelong machine learning with deep streaming linear discriminant analysis" (CVPR-W 2020), section
      3: ``shrinkage: 1e-4`` with the other defaults. The authors update the covariance with each sample's distance to
      its class mean so far. Here it is the covariance around the final means, which the sums give exactly, so that the
      order of samples and tasks does not matter. The authors start with a base task, estimate its covariance by OAS,
      and so never invert the covariance of few images. With 1e-4 alone the method fails where there are about as many
      images as features.
    * The default, ``shrinkage: null``: the covariance within classes is shrunk by OAS (Chen et al., "Shrinkage
      algorithms for MMSE covariance estimation", 2010, equation 23), estimated on all images so far and not on a base
      task only.
    * Panos et al., "First session adaptation" (ICCV 2023), section 3: ``covariance: total, target: added, shrinkage:
      1``, the covariance around the mean of all images plus the identity. The authors' method is
      ``[first_session, lda]`` with these arguments, and with the whole backbone tuned in the first session.

    If no class varies (one image of each, or equal ones), the identity is used as the covariance, which gives the
    nearest class mean.

    Args:
        shrinkage: Weight of the target in the covariance (Hayes & Kanan: 1e-4; Panos et al.: 1, added); null estimates
            it by OAS.
        target: What the covariance is shrunk to. ``identity`` (Hayes & Kanan). ``variance``: the identity times the
            mean variance, so that the scale of the features does not matter; OAS always uses this one. ``added``: the
            identity, times the shrinkage, is added to the unchanged covariance (Panos et al.).
        priors: Class priors: ``equal`` (as in all these methods), or ``counts``, each class's share of the images seen.
        covariance: ``within`` classes, divided by the number of images, or ``total``, around the mean of all images and
            divided by that number less one (Panos et al.).
    """

    traits = Traits(memory=("statistics",), gradient_free=True, scores="logits", paper="Hayes, CVPR-W 2020 (SLDA)")
    state = ("_numbers", "_sums", "_squares", "_weights", "_biases", "_center", "_taken")

    def __init__(
        self,
        shrinkage: float | None = None,
        target: Literal["identity", "variance", "added"] = "identity",
        priors: Literal["equal", "counts"] = "equal",
        covariance: Literal["within", "total"] = "within",
    ) -> None:
        super().__init__()
        if shrinkage is not None and not 0 < shrinkage <= 1:
            raise UserError(f"lda: shrinkage is {shrinkage}, but must be above 0 and at most 1, or null")
        if shrinkage is None and target == "added":
            raise UserError("lda: target is 'added', so that shrinkage must say how much of it (Panos et al.: 1)")
        self.shrinkage, self.target, self.priors, self.around = shrinkage, target, priors, covariance

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone; the head is not used."""
        learner.backbone.requires_grad_(False)
        classes, width = len(scenario.classes), learner.backbone.width
        self._numbers, self._sums = torch.zeros(classes).double(), torch.zeros(classes, width).double()
        self._squares = torch.zeros(width, width).double()
        self._weights, self._biases = torch.zeros(classes, width), torch.full((classes,), NEVER)
        self._center = torch.zeros(width)
        self._taken = TakenRows(len(scenario.table))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the features of the task's new images to the sums, and solve for the classifier."""
        indices = self._taken.new(task.train)
        if not len(indices):
            return
        features, labels = learner.features_of(indices).cpu().double(), learner.labels_of(indices).cpu()
        self._numbers += torch.bincount(labels, minlength=len(self._numbers))
        self._sums.index_add_(0, labels, features)
        self._squares += features.T @ features
        met = self._numbers > 0
        center = self._sums.sum(dim=0) / self._numbers.sum()
        means = self._sums[met] / self._numbers[met, None] - center
        weights = torch.linalg.solve(self.covariance(), means.T).T
        biases = -(weights * means).sum(dim=1) / 2
        if self.priors == "counts":
            biases += (self._numbers[met] / self._numbers.sum()).log()
        self._weights[met], self._biases[met] = weights.float(), biases.float()
        self._center = center.float()

    def covariance(self) -> Tensor:
        """The shrunk covariance, ``[width, width]``."""
        total, plain = float(self._numbers.sum()), self._plain()
        eye, variance = torch.eye(len(plain), dtype=plain.dtype), float(plain.diagonal().mean())
        if self.target == "added" and self.shrinkage is not None:
            return plain + self.shrinkage * eye
        if variance <= float(self._squares.trace()) * torch.finfo(plain.dtype).eps / min(total, len(plain)):
            return eye  # the differences of the sums are rounding errors
        share = oas_shrinkage(plain, total) if self.shrinkage is None else self.shrinkage
        scale = 1.0 if self.target == "identity" and self.shrinkage is not None else variance
        return (1 - share) * plain + share * scale * eye

    def _plain(self) -> Tensor:
        total = self._numbers.sum()
        if self.around == "total":
            center = self._sums.sum(dim=0) / total
            return (self._squares - total * torch.outer(center, center)) / (total - 1).clamp_min(1)
        means = self._sums / self._numbers[:, None].clamp_min(1)
        return (self._squares - self._sums.T @ means) / total

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Discriminant scores ``[B, seen classes]``; far below all others for classes without an image so far."""
        features, seen = learner.encode(batch).float(), learner.seen
        weights, biases = self._weights[:seen].to(features.device), self._biases[:seen].to(features.device)
        with full_precision(features):
            return (features - self._center.to(features.device)) @ weights.T + biases

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the image counts and the feature sums of the seen classes, and of the sum of squares."""
        width = len(self._squares)
        return {"statistics": 8 * (int((self._numbers > 0).sum()) * (width + 1) + width * width)}


def oas_shrinkage(covariance: Tensor, samples: float) -> float:
    """The oracle approximating shrinkage (OAS) for a covariance ``[width, width]`` of a number of samples."""
    width = len(covariance)
    square, squared_mean = float(covariance.square().mean()), (float(covariance.trace()) / width) ** 2
    below = (samples + 1) * (square - squared_mean / width)
    return 1.0 if below <= 0 else min((square + squared_mean) / below, 1.0)
