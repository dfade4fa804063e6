"""Streaming linear discriminant analysis on frozen features (SLDA)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.precision import full_precision
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task

NEVER = -1e30


class LDA(Plugin):
    """Classifies frozen features by class means and one shrunk covariance that all classes share.

    Hayes & Kanan, "Lifelong machine learning with deep streaming linear discriminant analysis" (CVPR-W 2020), section
    3: class means and the covariance within classes are kept as running sums, and with the precision
    ``L = ((1 - shrinkage) S + shrinkage I)^-1`` the score of a class is ``(L m)' f - m' L m / 2``, here with features
    and means taken from the mean of all, which changes no answer and keeps the numbers small. The authors update S by
    each sample's distance to its class mean so far; here S is the covariance around the final means, which the sums
    give exactly, so that the order of samples and tasks does not matter. ``[first_session, lda]`` is first-session
    adaptation with the incremental LDA of Panos et al. (ICCV 2023). Solved in double precision.

    Args:
        shrinkage: Share of the target in the covariance (Hayes & Kanan: 1e-4); null estimates it from the same sums
            (Chen et al., "Shrinkage algorithms for MMSE covariance estimation", 2010, equation 23: OAS).
        target: What the covariance is shrunk to: ``identity`` (Hayes & Kanan), or ``variance``, the identity times the
            mean variance, whatever the scale of the features; OAS always takes this one.
        priors: ``equal`` (Hayes & Kanan), or ``counts``, the classes' shares of the images seen.
    """

    traits = Traits(stores=("statistics",), gradient_free=True, paper="Hayes, CVPR-W 2020 (SLDA)")

    def __init__(
        self,
        shrinkage: float | None = 1e-4,
        target: Literal["identity", "variance"] = "identity",
        priors: Literal["equal", "counts"] = "equal",
    ) -> None:
        super().__init__()
        if shrinkage is not None and not 0 < shrinkage <= 1:
            raise UserError(f"lda: shrinkage is {shrinkage}, but must be above 0 and at most 1, or null")
        self.shrinkage, self.target, self.priors = shrinkage, target, priors
        self._numbers, self._sums, self._squares = torch.zeros(0), torch.zeros(0, 0), torch.zeros(0, 0)
        self._weights, self._biases, self._centre = torch.zeros(0, 0), torch.zeros(0), torch.zeros(0)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone; the head is not used."""
        learner.backbone.requires_grad_(False)
        classes, width = len(scenario.classes), learner.backbone.width
        self._numbers, self._sums = torch.zeros(classes).double(), torch.zeros(classes, width).double()
        self._squares = torch.zeros(width, width).double()
        self._weights, self._biases = torch.zeros(classes, width), torch.full((classes,), NEVER)
        self._centre = torch.zeros(width)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the task's features to the sums, and solve for the classifier."""
        features = learner.features_of(task.train).cpu().double()
        labels = learner.labels_of(task.train).cpu()
        self._numbers += torch.bincount(labels, minlength=len(self._numbers))
        self._sums.index_add_(0, labels, features)
        self._squares += features.T @ features
        met = self._numbers > 0
        centre = self._sums.sum(dim=0) / self._numbers.sum()
        means = self._sums[met] / self._numbers[met, None] - centre
        weights = torch.linalg.solve(self.covariance(), means.T).T
        biases = -(weights * means).sum(dim=1) / 2
        if self.priors == "counts":
            biases += (self._numbers[met] / self._numbers.sum()).log()
        self._weights[met], self._biases[met] = weights.float(), biases.float()
        self._centre = centre.float()

    def covariance(self) -> Tensor:
        """The shrunk covariance within classes, ``[width, width]``."""
        total, width = float(self._numbers.sum()), len(self._squares)
        means = self._sums / self._numbers[:, None].clamp_min(1)
        plain = (self._squares - self._sums.T @ means) / total
        variance = float(plain.trace()) / width
        share = oas_shrinkage(plain, total) if self.shrinkage is None else self.shrinkage
        scale = 1.0 if self.target == "identity" and self.shrinkage is not None else variance
        return (1 - share) * plain + share * scale * torch.eye(width, dtype=plain.dtype)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Discriminant scores ``[B, seen classes]``; far below all others for classes without an image so far."""
        features, seen = learner.encode(batch).float(), learner.head.classes
        weights, biases = self._weights[:seen].to(features.device), self._biases[:seen].to(features.device)
        with full_precision(features):
            return (features - self._centre.to(features.device)) @ weights.T + biases

    def stored_bytes(self) -> dict[str, int]:
        """Numbers and sums of the classes seen, and the squares."""
        width = len(self._squares)
        return {"statistics": 8 * (int((self._numbers > 0).sum()) * (width + 1) + width * width)}

    def state_dict(self) -> dict[str, Any]:
        """Numbers, sums, squares and the classifier."""
        names = ("numbers", "sums", "squares", "weights", "biases", "centre")
        return {name: getattr(self, f"_{name}") for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Numbers, sums, squares and the classifier."""
        for name, value in state_dict.items():
            setattr(self, f"_{name}", value)


def oas_shrinkage(covariance: Tensor, samples: float) -> float:
    """The oracle approximating shrinkage of a covariance ``[width, width]`` that so many samples gave."""
    width = len(covariance)
    square, squared_mean = float(covariance.square().mean()), (float(covariance.trace()) / width) ** 2
    below = (samples + 1) * (square - squared_mean / width)
    return 1.0 if below <= 0 else min((square + squared_mean) / below, 1.0)
