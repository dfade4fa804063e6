"""Sparse random projections of which the largest stay, and ridge regression, on frozen features (Fly-CL)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from clsuite.plugin import Learner, Traits, UserError, check_range
from clsuite.plugin.helpers import RandomProjection, RidgePlugin


class FlyCL(RidgePlugin):
    """Ridge regression on sparse codes, as in the olfactory circuit of the fruit fly.

    Zou et al., "Fly-CL: a fly-inspired framework for enhancing efficient decorrelation and reduced training time in
    pre-trained model-based continual representation learning" (ICLR 2026). Each of M units sums a few random features,
    with weights from N(0, 1). Of each image the largest values are kept, with their signs, and the others are zero. The
    classifier is `ranpac`'s, ``(G + ridge I)^-1 Q``, with the ridge by generalized cross-validation on the images of
    the current task: among powers of ten, the one with the least ``N |Y - S Y|^2 / trace(I - S)^2``, where S maps the
    targets to their fit. It may change by orders of magnitude from task to task, as in the authors' code. A backbone
    with fewer features than ``connections`` has all of them in each unit.

    Differences: a class without an image so far is never predicted (the authors' argmax is over all classes, of which
    unseen ones score 0). Sums and solution are in double precision. An image that occurs again does not count again.

    Args:
        projection: M, the number of units (authors: 10,000; the memory is M^2 numbers of eight bytes).
        connections: Features that a unit sums (authors' scripts: 300 of 768; the default of their parser is 100).
        kept: Share of the values that are kept (authors' scripts: 0.3; the default of their parser is 0.01).
        least_ridge: Exponent of the smallest ridge (authors' scripts: 6; the default of their parser is 4).
        largest_ridge: Exponent of the largest ridge (authors' scripts: 9; the default of their parser is 8).
    """

    traits = Traits(memory=("statistics",), gradient_free=True, scores="regression", paper="Zou, ICLR 2026 (Fly-CL)")

    def __init__(
        self,
        projection: int = 10_000,
        connections: int = 300,
        kept: float = 0.3,
        least_ridge: int = 6,
        largest_ridge: int = 9,
    ) -> None:
        super().__init__()
        check_range("fly_cl", at_least=1, projection=projection, connections=connections)
        check_range("fly_cl", above=0, at_most=1, kept=kept)
        if least_ridge > largest_ridge:
            raise UserError(f"fly_cl: least_ridge is {least_ridge}, but must be at most largest_ridge, {largest_ridge}")
        self.projection, self.connections, self.kept = projection, connections, kept
        self.ridges = [10.0**exponent for exponent in range(least_ridge, largest_ridge + 1)]

    def draw(self, learner: Learner) -> RandomProjection:
        """The sparse matrix, with the choice of the largest values behind it."""
        width, generator = learner.backbone.width, learner.generator("fly_cl")
        number = min(self.connections, width)
        chosen = torch.rand(self.projection, width, generator=generator).topk(number, dim=1).indices
        weights = torch.randn(self.projection, number, generator=generator)
        matrix = torch.zeros(self.projection, width).scatter_(1, chosen, weights).T.contiguous()
        return RandomProjection(matrix, partial(keep_largest, number=max(1, round(self.kept * self.projection))))

    def ridge_of(self, learner: Learner, projected: Tensor, targets: Tensor) -> float:
        """The ridge by generalized cross-validation on the images of the task."""
        return cross_validated_ridge(projected, targets, self.ridges)


def keep_largest(values: Tensor, number: int) -> Tensor:
    """The largest values of each row of ``[N, M]``, in their places; the others are zero."""
    largest = values.topk(number, dim=1)
    return torch.zeros_like(values).scatter_(1, largest.indices, largest.values)


def cross_validated_ridge(features: Tensor, targets: Tensor, ridges: list[float]) -> float:
    """The ridge with the least generalized cross-validation error (Golub et al., Technometrics 1979).

    One eigendecomposition, of the smaller of the two matrices of inner products, is enough for all ridges.

    Args:
        features: ``[N, M]``.
        targets: ``[N, C]``.
        ridges: The ridges to choose from, in ascending order; of equal errors, the largest.
    """
    inner, wanted = features.double(), targets.double()
    wide = len(inner) <= inner.shape[1]
    values, vectors = torch.linalg.eigh(inner @ inner.T if wide else inner.T @ inner)
    values = values.clamp_min(0)
    if wide:
        parts = (vectors.T @ wanted).square().sum(dim=1)
    else:
        least = float(values.max()) * len(values) * torch.finfo(values.dtype).eps
        parts = (vectors.T @ (inner.T @ wanted)).square().sum(dim=1) / values.clamp_min(max(least, 1e-300))
    beyond, outside = float(wanted.square().sum() - parts.sum()), len(inner) - len(values)
    errors = []
    for ridge in ridges:
        left = ridge / (values + ridge)
        error = max(beyond, 0.0) + float((left.square() * parts).sum())
        errors.append(error / float(outside + left.sum()) ** 2)
    return max(ridge for ridge, error in zip(ridges, errors, strict=True) if error == min(errors))
