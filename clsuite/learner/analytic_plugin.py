"""The base classes of analytic classifiers: plugins that sum over frozen features and solve for a classifier."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.taken import TakenRows
from clsuite.learner.analytic import FeatureSums, RandomProjection, RecursiveRidge
from clsuite.learner.precision import full_precision
from clsuite.plugin.base import Plugin
from clsuite.plugin.state import tensor_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clsuite.data.batch import Batch
    from clsuite.learner.learner import Learner
    from clsuite.scenarios import Scenario, Task

NEVER = -1e30
"""The score of a class without an image so far."""
Solver = Literal["recursive", "sums"]
"""How a ridge regression with a fixed ridge is solved."""
Layer = Literal["uniform", "normal"]
"""How the weights of a random layer are drawn."""


class AnalyticPlugin(Plugin, ABC):
    """A classifier that is solved at the end of each task from statistics of frozen features; nothing is trained.

    An image that occurs again does not count again, and a class without an image so far is never predicted. A subclass
    implements `prepare`, `learn` and `scores`.
    """

    state: ClassVar[tuple[str, ...]] = ("_numbers", "_taken")

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and create the statistics; the head is not used."""
        learner.backbone.requires_grad_(False)
        self._numbers = torch.zeros(len(scenario.classes), dtype=torch.int64)
        self._taken = TakenRows(len(scenario.table))
        self.prepare(learner, len(scenario.classes))

    @abstractmethod
    def prepare(self, learner: Learner, classes: int) -> None:
        """Draw projections and create statistics, for a number of classes of the whole stream."""

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Add the features of the task's new images to the statistics, and solve for the classifier."""
        indices = self._taken.new(task.train)
        if not len(indices):
            return
        features, labels = self.training_features(learner, indices)
        self._numbers += torch.bincount(labels, minlength=len(self._numbers))
        self.learn(learner, features, labels)

    def training_features(self, learner: Learner, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Features ``[N, d]`` of rows of the table, and their labels ``[N]``, both on the CPU."""
        return learner.features_of(indices).cpu(), learner.labels_of(indices).cpu()

    @abstractmethod
    def learn(self, learner: Learner, features: Tensor, labels: Tensor) -> None:
        """Add features ``[N, d]`` with labels ``[N]`` to the statistics, and solve for the classifier."""

    @abstractmethod
    def scores(self, features: Tensor, seen: int) -> Tensor:
        """Scores ``[B, seen]`` of features ``[B, d]`` for the first classes, on the device of the features."""

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Scores ``[B, seen classes]``; far below all others for classes without an image so far."""
        features, seen = learner.encode(batch).float(), learner.seen
        with full_precision(features):
            scores = self.scores(features, seen)
        return scores.masked_fill((self._numbers[:seen] == 0).to(features.device), NEVER)

    def one_hot(self, labels: Tensor) -> Tensor:
        """Targets ``[N, classes of the stream]`` of a regression on labels ``[N]``."""
        return F.one_hot(labels, len(self._numbers)).float()


class Regression(Protocol):
    """A statistic of features and targets from which a ridge regression is solved."""

    @property
    def bytes(self) -> int:
        """Bytes that are kept between tasks."""

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add features ``[N, M]`` with their targets ``[N, C]``."""

    def ridge_regression(self, ridge: float) -> Tensor:
        """The weights of the regression, float64 ``[M, C]``."""


class RidgePlugin(AnalyticPlugin):
    """Ridge regression of one-hot labels on projected features. A subclass draws the projection and gives the ridge."""

    state: ClassVar[tuple[str, ...]] = ("_statistic", "_classifier")

    def prepare(self, learner: Learner, classes: int) -> None:
        """Draw the projection and create the sums."""
        self._project = self.draw(learner)
        self._statistic = self.statistic(self._project.width, classes)
        self._classifier = torch.zeros(self._project.width, classes)

    @abstractmethod
    def draw(self, learner: Learner) -> RandomProjection:
        """The projection, the same whenever it is drawn."""

    def statistic(self, width: int, classes: int) -> Regression:
        """What is kept of features ``[N, width]`` and targets ``[N, classes]``; by default their sums."""
        return FeatureSums(width, classes)

    @abstractmethod
    def ridge_of(self, learner: Learner, projected: Tensor, targets: Tensor) -> float:
        """The ridge, which may be chosen by the projected features ``[N, M]`` and targets ``[N, C]`` of the task."""

    def learn(self, learner: Learner, features: Tensor, labels: Tensor) -> None:
        """Add features ``[N, d]`` with labels ``[N]`` to the statistic, and solve the regression."""
        projected, targets = self._project(features), self.one_hot(labels)
        self._statistic.add(projected, targets)
        self._classifier = self._statistic.ridge_regression(self.ridge_of(learner, projected, targets)).float()

    def scores(self, features: Tensor, seen: int) -> Tensor:
        """Regression scores ``[B, seen]`` of features ``[B, d]``."""
        return self._project(features) @ self._classifier[:, :seen].to(features.device)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the statistic and of the projection."""
        return {"statistics": self._statistic.bytes + tensor_bytes(self._project.matrix)}


class RandomLayerPlugin(RidgePlugin):
    """Ridge regression with a fixed ridge behind a random layer and ReLU: ACIL and what derives from it."""

    def __init__(self, projection: int, ridge: float, solver: Solver, batch: int, layer: Layer) -> None:
        """Take the arguments, which the subclass has checked.

        Args:
            projection: M, the number of units of the random layer.
            ridge: The ridge.
            solver: `RecursiveRidge` or `FeatureSums`.
            batch: Number of images of a recursive update.
            layer: The draws of the layer's weights: ``uniform`` as of PyTorch's linear layers, U(-1/sqrt(d),
                1/sqrt(d)), or ``normal``: those of `ranpac` with the same seed, from N(0, 1).
        """
        super().__init__()
        self.projection, self.ridge, self.solver, self.batch, self.layer = projection, ridge, solver, batch, layer

    def draw(self, learner: Learner) -> RandomProjection:
        """The random layer, with ReLU behind it."""
        return RandomProjection(self.draw_layer(learner), F.relu)

    def draw_layer(self, learner: Learner) -> Tensor:
        """The weights of the random layer, ``[d, M]``."""
        width = learner.backbone.width
        if self.layer == "normal":
            return torch.randn(width, self.projection, generator=learner.generator("ranpac"))
        draws = torch.rand(width, self.projection, generator=learner.generator("random layer"))
        return (2 * draws - 1) / math.sqrt(width)

    def statistic(self, width: int, classes: int) -> Regression:
        """What the solver keeps."""
        return self.statistic_with(self.ridge, width, classes)

    def statistic_with(self, ridge: float, width: int, classes: int) -> Regression:
        """What the solver keeps for a ridge."""
        if self.solver == "recursive":
            return RecursiveRidge(width, classes, ridge, self.batch)
        return FeatureSums(width, classes)

    def ridge_of(self, learner: Learner, projected: Tensor, targets: Tensor) -> float:
        """The fixed ridge."""
        return self.ridge
