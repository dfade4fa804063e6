"""Recursive least squares with a second stream for what the first one leaves (DS-AL)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clsuite.plugin import Learner, Traits, check_range
from clsuite.plugin.helpers import RandomLayerPlugin, RandomProjection

MIXED = "its second stream is fitted to the new classes of a task, and tasks have classes that earlier ones have too"


class DSAL(RandomLayerPlugin):
    """ACIL, and a second regression that fits its residuals behind the same random layer with another activation.

    Zhuang et al., "DS-AL: a dual-stream analytic learning for exemplar-free class-incremental learning" (AAAI 2024).
    The main stream is that of `acil`, with ReLU. The compensation stream is a regression of its residuals on the
    random layer with tanh. Residuals of older classes are set to zero ("previous label cleansing"). The prediction is
    the sum of both, the second one times ``ratio``.

    Differences: residuals are those after all images of the task, and so do not depend on batches; in the authors'
    code they are those after each batch of 4,096 images. The backbone is pre-trained, as in `acil`.

    Args:
        projection: M, the units of the random layer (authors: 8,192; the memory is 2 M^2 numbers of eight bytes).
        ridge: The ridge of the main stream (authors: 0.1, for the features of their ResNets).
        compensation_ridge: The ridge of the compensation stream (authors: 0.1).
        ratio: What the compensation stream is multiplied with (authors: 0.6 for CIFAR-100, 1.5 for ImageNet; they
            recommend a search in [0, 2]). With 0 the method is `acil`.
        solver: ``recursive`` (authors), or ``sums``, as in `acil`.
        batch: Images of a recursive update; it changes no result beyond rounding.
        layer: The draws of the layer, as in `acil`.
    """

    traits = Traits(
        memory=("statistics",),
        gradient_free=True,
        scores="regression",
        unsupported_scenarios={"domain_incremental": MIXED, "blurry": MIXED, "power_law": MIXED},
        paper="Zhuang, AAAI 2024 (DS-AL)",
    )
    state = ("_second", "_compensation")

    def __init__(
        self,
        projection: int = 8192,
        ridge: float = 0.1,
        compensation_ridge: float = 0.1,
        ratio: float = 0.6,
        solver: Literal["recursive", "sums"] = "recursive",
        batch: int = 256,
        layer: Literal["uniform", "normal"] = "uniform",
    ) -> None:
        check_range("ds_al", at_least=1, projection=projection, batch=batch)
        check_range("ds_al", above=0, ridge=ridge, compensation_ridge=compensation_ridge)
        check_range("ds_al", at_least=0, ratio=ratio)
        super().__init__(projection, ridge, solver, batch, layer)
        self.compensation_ridge, self.ratio = compensation_ridge, ratio

    def prepare(self, learner: Learner, classes: int) -> None:
        """Draw the layer and create the statistics of both streams."""
        super().prepare(learner, classes)
        self._project_again = RandomProjection(self._project.matrix, torch.tanh)
        self._second = self.statistic_with(self.compensation_ridge, self.projection, classes)
        self._compensation = torch.zeros_like(self._classifier)

    def learn(self, learner: Learner, features: Tensor, labels: Tensor) -> None:
        """Update the main stream, and then the compensation stream by its residuals for the task's classes."""
        super().learn(learner, features, labels)
        main = self._statistic.ridge_regression(self.ridge)
        residuals = self.one_hot(labels).double() - self._project(features).double() @ main
        old = torch.ones(residuals.shape[1], dtype=torch.bool)
        old[labels.unique()] = False
        self._second.add(self._project_again(features), residuals.masked_fill(old, 0.0))
        self._compensation = self._second.ridge_regression(self.compensation_ridge).float()

    def scores(self, features: Tensor, seen: int) -> Tensor:
        """The sum of both streams, ``[B, seen]``."""
        second = self._project_again(features) @ self._compensation[:, :seen].to(features.device)
        return super().scores(features, seen) + self.ratio * second

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the statistics of both streams and of the random layer."""
        return {"statistics": super().stored_bytes()["statistics"] + self._second.bytes}
