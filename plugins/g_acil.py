"""Recursive least squares for streams whose classes come back (G-ACIL), and its class-balanced form (AIR)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clsuite.plugin import Traits, UserError, check_range
from clsuite.plugin.helpers import FeatureSums, RandomLayerPlugin, Regression, solve_ridge


class GACIL(RandomLayerPlugin):
    """ACIL for streams in which tasks have new classes and classes that were seen before, in any numbers.

    Zhuang et al., "G-ACIL: analytic learning for exemplar-free generalized class incremental learning" (2024). The
    paper's gain of exposed classes is what makes the recursive solution that of all images so far: an update of
    residuals of all classes, old ones too. Where each class comes in one task it is `acil`, as the authors say.

    ``weights: classes`` is Fang et al., "AIR: analytic imbalance rectifier for continual learning" (2024): each class
    has the same weight in the sums, whatever its number of images. Image weights are 1 / (images of the class so far),
    times a factor that makes their mean over classes 1. As classes come back, these change for earlier images too, so
    that G is kept for each class. An image that occurs again does not count again.

    Args:
        projection: M, the units of the random layer (authors: 8,192; the memory is M^2 numbers of eight bytes, with
            ``weights: classes`` for each class of the stream).
        ridge: The ridge, gamma (authors: 0.1, for the features of their ResNets).
        solver: ``recursive`` (authors), or ``sums``, as in `acil`; class weights need sums.
        batch: Images of a recursive update (authors: 4,096); it changes no result beyond rounding.
        layer: The draws of the layer, as in `acil`.
        weights: What counts the same: ``images`` (G-ACIL), or ``classes`` (AIR), for long-tailed streams.
    """

    traits = Traits(
        memory=("statistics",), gradient_free=True, scores="regression", paper="Zhuang, 2024 (G-ACIL); Fang, 2024 (AIR)"
    )

    def __init__(
        self,
        projection: int = 8192,
        ridge: float = 0.1,
        solver: Literal["recursive", "sums"] = "recursive",
        batch: int = 256,
        layer: Literal["uniform", "normal"] = "uniform",
        weights: Literal["images", "classes"] = "images",
    ) -> None:
        check_range("g_acil", at_least=1, projection=projection, batch=batch)
        check_range("g_acil", above=0, ridge=ridge)
        if weights == "classes" and solver == "recursive":
            raise UserError("g_acil: weights of classes change with each image, and need solver 'sums'")
        super().__init__(projection, ridge, solver, batch, layer)
        self.weights = weights

    def statistic(self, width: int, classes: int) -> Regression:
        """What the solver keeps, of each class if these have weights."""
        return ClassSums(width, classes) if self.weights == "classes" else super().statistic(width, classes)


class ClassSums:
    """The sums of each class, of which a regression is solved in which all classes have the same weight."""

    def __init__(self, width: int, classes: int) -> None:
        """Start with no features, for features of a width and a number of classes."""
        self._sums = {label: FeatureSums(width, 1) for label in range(classes)}

    @property
    def bytes(self) -> int:
        """Bytes of the sums of the classes so far."""
        return sum(one.bytes for one in self._sums.values() if one.images)

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add features ``[N, M]`` with one-hot targets ``[N, C]``."""
        labels = targets.argmax(dim=1)
        for label in labels.unique().tolist():
            own = features[labels == label]
            self._sums[label].add(own, own.new_ones(len(own), 1))

    def ridge_regression(self, ridge: float) -> Tensor:
        """The weights ``[M, C]`` of the regression with weighted images."""
        met = [one for one in self._sums.values() if one.images]
        mean = sum(1 / one.images for one in met) / len(met)
        shares = {label: 1 / (one.images * mean) for label, one in self._sums.items() if one.images}
        products = sum(share * self._sums[label].products for label, share in shares.items())
        sums = torch.cat([shares.get(label, 0.0) * one.sums for label, one in self._sums.items()], dim=1)
        return solve_ridge(torch.as_tensor(products), sums, ridge, sum(one.images for one in met))

    def state_dict(self) -> dict[int, dict[str, object]]:
        """The sums of each class, for a checkpoint."""
        return {label: one.state_dict() for label, one in self._sums.items()}

    def load_state_dict(self, state: dict[int, dict[str, object]]) -> None:
        """Restore the sums."""
        for label, one in self._sums.items():
            one.load_state_dict(state[label])
