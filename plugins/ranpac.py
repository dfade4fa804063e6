"""Random projections and ridge regression on frozen features (RanPAC)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, check_range
from clsuite.plugin.helpers import TakenRows, full_precision, tensor_bytes

RIDGES = tuple(10.0**exponent for exponent in range(-8, 9))
HELD_OUT = 0.2
CHUNK = 1024
"""Images whose products are summed at once; a larger number takes more memory and saves no time."""
NEVER = -1e30


class RanPAC(Plugin):
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
    """

    traits = Traits(
        memory=("statistics",), gradient_free=True, scores="regression", paper="McDonnell, NeurIPS 2023 (RanPAC)"
    )
    state = ("_gram", "_sums", "_numbers", "_classifier", "_taken")

    def __init__(self, projection: int = 10_000) -> None:
        super().__init__()
        check_range("ranpac", at_least=1, projection=projection)
        self.projection = projection

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and draw W; the head is not used."""
        learner.backbone.requires_grad_(False)
        self._random = torch.randn(learner.backbone.width, self.projection, generator=learner.generator("ranpac"))
        self._gram = torch.zeros(self.projection, self.projection, dtype=torch.float64)
        self._sums = torch.zeros(self.projection, len(scenario.classes), dtype=torch.float64)
        self._classifier = torch.zeros(self.projection, len(scenario.classes))
        self._numbers = torch.zeros(len(scenario.classes), dtype=torch.int64)
        self._taken = TakenRows(len(scenario.table))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the statistics of the task's new images and solve for the classifier."""
        indices = self._taken.new(task.train)
        if not len(indices):
            return
        projected = F.relu(learner.features_of(indices).cpu() @ self._random)
        labels = learner.labels_of(indices).cpu()
        targets = F.one_hot(labels, self._sums.shape[1]).float()
        self._numbers += torch.bincount(labels, minlength=len(self._numbers))
        for part, wanted in zip(projected.split(CHUNK), targets.split(CHUNK), strict=True):
            self._gram.addmm_(part.double().T, part.double())
            self._sums.addmm_(part.double().T, wanted.double())
        ridge = choose_ridge(projected, targets, learner.generator("ridge"))
        self._classifier = solve(self._gram, self._sums, ridge, int(self._numbers.sum())).float()

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Regression scores ``[B, seen classes]``; far below all others for classes without an image so far."""
        features, seen = learner.encode(batch).float(), learner.seen
        with full_precision(features):
            projected = F.relu(features @ self._random.to(features.device))
            scores = projected @ self._classifier[:, :seen].to(features.device)
        return scores.masked_fill((self._numbers[:seen] == 0).to(features.device), NEVER)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of G, Q and W."""
        return {"statistics": tensor_bytes([self._gram, self._sums, self._random])}


def solve(gram: Tensor, sums: Tensor, ridge: float, images: int) -> Tensor:
    """The classifier ``(G + ridge I)^-1 Q`` in double precision, with the ridge raised if it is too small for that.

    Args:
        gram: G, ``[M, M]``.
        sums: Q, ``[M, C]``.
        ridge: The ridge that was chosen.
        images: Number of images that G sums over.
    """
    least = max(len(gram), images) * torch.finfo(gram.dtype).eps * float(gram.trace())
    regular = gram.clone()
    regular.diagonal().add_(max(ridge, least))
    return torch.cholesky_solve(sums, torch.linalg.cholesky(regular))


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
