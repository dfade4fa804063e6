"""Random projections and ridge regression on frozen features (RanPAC)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Learner, Traits, check_range
from clsuite.plugin.helpers import RandomProjection, RidgePlugin

RIDGES = tuple(10.0**exponent for exponent in range(-8, 9))
HELD_OUT = 0.2


class RanPAC(RidgePlugin):
    """RanPAC's second phase: ridge regression on randomly projected frozen features. Alone, its "no phase 1".

    McDonnell et al., "RanPAC: random projections and pre-trained models for continual learning" (NeurIPS 2023), section
    4 and algorithm 1. The paper's RanPAC adapts the features in a first phase, which is a plugin of its own:
    ``[first_session, ranpac]``. ``ranpac`` alone is the ablation that the paper calls "no phase 1", and its results are
    not those of RanPAC. The order of tasks does not matter, except for the choice of the ridge.

    Let ``h = ReLU(f W)`` with W drawn from N(0, 1). ``G`` sums ``h h'`` and ``Q`` sums ``h y'``, and the classifier is
    ``(G + ridge I)^-1 Q``. The ridge is chosen among the powers of ten from 10^-8 to 10^8: the one with the least
    squared error on a fifth of the current task when fitted to the rest of it; among ties (within one part in a
    thousand), the largest. An image that occurs again does not count again. A class without an image so far is never
    predicted.

    Sums and solution are in double precision. With more projections than images, G has eigenvalues that are zero. In
    single precision (as in the authors' code) their rounding errors are larger than a small ridge, and the predictions
    collapse. A ridge that is too small even for double precision is raised to the smallest usable one: the larger of M
    and the number of images, times the machine epsilon, times the trace.

    Args:
        projection: M, the number of random projections (paper: 10,000; the memory is M^2 numbers of eight bytes).
        ridge: One ridge for all tasks, in place of the choice; with it the order of tasks does not matter at all, and
            `acil` with ``layer: normal`` has the same solution.
    """

    traits = Traits(
        memory=("statistics",), gradient_free=True, scores="regression", paper="McDonnell, NeurIPS 2023 (RanPAC)"
    )

    def __init__(self, projection: int = 10_000, ridge: float | None = None) -> None:
        super().__init__()
        check_range("ranpac", at_least=1, projection=projection)
        check_range("ranpac", above=0, ridge=ridge)
        self.projection, self.ridge = projection, ridge

    def draw(self, learner: Learner) -> RandomProjection:
        """W, with ReLU behind it."""
        matrix = torch.randn(learner.backbone.width, self.projection, generator=learner.generator("ranpac"))
        return RandomProjection(matrix, F.relu)

    def ridge_of(self, learner: Learner, projected: Tensor, targets: Tensor) -> float:
        """The given ridge, or the best on held-out images of the task."""
        return choose_ridge(projected, targets, learner.generator("ridge")) if self.ridge is None else self.ridge


def choose_ridge(projected: Tensor, targets: Tensor, generator: torch.Generator) -> float:
    """The ridge with the least squared error on held-out samples of a task (section 4.3).

    One eigendecomposition, of the smaller of the two matrices of inner products, is enough for all ridges.

    Args:
        projected: Projected features ``[N, M]``.
        targets: One-hot labels ``[N, C]``.
        generator: Source of the split.
    """
    order = torch.randperm(len(projected), generator=generator)
    held = max(1, round(HELD_OUT * len(order)))
    valid, train = order[:held], order[held:]
    if not len(train):
        return 1.0
    inner = projected[train].double()
    known, wanted, left = targets[train].double(), targets[valid].double(), projected[valid].double()
    if len(inner) > inner.shape[1]:
        values, vectors = torch.linalg.eigh(inner.T @ inner)
        right, left = vectors.T @ (inner.T @ known), left @ vectors
    else:
        values, vectors = torch.linalg.eigh(inner @ inner.T)
        right, left = vectors.T @ known, left @ inner.T @ vectors
    errors = [
        float((left @ (right / (values.clamp_min(0) + ridge)[:, None]) - wanted).square().mean()) for ridge in RIDGES
    ]
    least = min(errors)
    return max(ridge for ridge, error in zip(RIDGES, errors, strict=True) if error <= 1.001 * least)
