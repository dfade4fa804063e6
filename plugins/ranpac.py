"""Random projections and ridge regression on frozen features (RanPAC)."""

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

RIDGES = tuple(10.0**exponent for exponent in range(-8, 9))
HELD_OUT = 0.2


class RanPAC(Plugin):
    """Classifies by ridge regression on randomly projected frozen features; the order of tasks does not matter.

    McDonnell et al., "RanPAC: random projections and pre-trained models for continual learning" (NeurIPS 2023), section
    4 and algorithm 1; the first-session adaptation is a plugin of its own, ``[first_session, ranpac]``. With
    ``h = ReLU(f W)``, W from N(0, 1), ``G`` sums ``h h'`` and ``Q`` sums ``h y'``; the classifier is
    ``(G + ridge I)^-1 Q``. The ridge is the one of 10^-8..10^8 with the least squared error on a fifth of the current
    task when fitted to the rest of it; of ties (within one part in a thousand) the largest. Solved in double precision.

    Args:
        projection: M, the number of random projections (paper: 10,000; the memory is M^2 numbers).
    """

    traits = Traits(stores=("statistics",), gradient_free=True, paper="McDonnell, NeurIPS 2023 (RanPAC)")

    def __init__(self, projection: int = 10_000) -> None:
        super().__init__()
        if projection < 1:
            raise UserError(f"ranpac: projection is {projection}, but must be at least 1")
        self.projection = projection
        self._gram, self._sums, self._classifier = torch.zeros(0, 0), torch.zeros(0, 0), torch.zeros(0, 0)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone, draw W; the head is not used."""
        learner.backbone.requires_grad_(False)
        generator = torch.Generator().manual_seed(learner.generator("ranpac").initial_seed())
        self._random = torch.randn(learner.backbone.width, self.projection, generator=generator)
        self._gram = torch.zeros(self.projection, self.projection)
        self._sums = torch.zeros(self.projection, len(scenario.classes))
        self._classifier = torch.zeros(self.projection, len(scenario.classes))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the task's statistics and solve for the classifier."""
        projected = F.relu(learner.features_of(task.train).cpu() @ self._random)
        targets = F.one_hot(learner.labels_of(task.train).cpu(), self._sums.shape[1]).float()
        self._gram += projected.T @ projected
        self._sums += projected.T @ targets
        generator = torch.Generator().manual_seed(learner.generator("ridge").initial_seed())
        ridge = choose_ridge(projected, targets, generator)
        regular = self._gram.double()
        regular.diagonal().add_(ridge)
        self._classifier = torch.linalg.solve(regular, self._sums.double()).float()

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Regression scores ``[B, seen classes]``."""
        features, seen = learner.encode(batch).float(), learner.head.classes
        with full_precision(features):
            projected = F.relu(features @ self._random.to(features.device))
            return projected @ self._classifier[:, :seen].to(features.device)

    def stored_bytes(self) -> dict[str, int]:
        """G, Q and W."""
        tensors = (self._gram, self._sums, self._random)
        return {"statistics": sum(tensor.numel() * tensor.element_size() for tensor in tensors)}

    def state_dict(self) -> dict[str, Any]:
        """G, Q and the classifier; W follows from the seed."""
        return {"gram": self._gram, "sums": self._sums, "classifier": self._classifier}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """G, Q and the classifier."""
        self._gram, self._sums = state_dict["gram"], state_dict["sums"]
        self._classifier = state_dict["classifier"]


def choose_ridge(projected: Tensor, targets: Tensor, generator: torch.Generator) -> float:
    """The ridge with the least squared error on held-out samples of a task (section 4.3).

    One eigendecomposition, of the smaller of the two matrices of inner products, serves all ridges.

    Args:
        projected: ``[N, M]``.
        targets: ``[N, C]``, one-hot.
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
