"""Features of table rows, computed once per image while the backbone is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.backbones.vit import Backbone
from clsuite.data.on_device import image_chunks, moved
from clsuite.data.table import ImageTable
from clsuite.learner.batch_size import inference_batch_size
from clsuite.scenarios import Scenario


class Source(Protocol):
    """Gives the features of rows of a table as `compute_features` does, wherever it has them from."""

    def __call__(
        self, backbone: Backbone, table: ImageTable, rows: NDArray[np.int64], batch_size: int | None = None
    ) -> Tensor:
        """Features ``[len(rows), width]``."""


def computed_here(
    backbone: Backbone, table: ImageTable, rows: NDArray[np.int64], batch_size: int | None = None
) -> Tensor:
    """The source of features that computes them."""
    return compute_features(backbone, table.images, rows, batch_size)


class FeatureStore:
    """Un-augmented features by row of the table.

    Images are passed through the backbone in chunks of the asked-for rows, so that the same question gives the same
    bits. Known rows are looked up. Memory is taken for known rows, and at most as much again to grow into.
    """

    def __init__(self, scenario: Scenario, source: Source = computed_here) -> None:
        """Make an empty store for the rows of a scenario's table, whose features come from a source."""
        self._scenario, self._table, self._source = scenario, scenario.table, source
        self._others: WeakSet[FeatureStore] = WeakSet()
        self.clear()

    def fresh(self) -> FeatureStore:
        """An empty store for the same table."""
        other = FeatureStore(self._scenario, self._source)
        self._others.add(other)
        return other

    def forget(self) -> None:
        """Forget everything, also in the stores that came from this one: the pre-trained network itself has changed."""
        self.clear()
        for other in self._others:
            other.forget()

    def clear(self) -> None:
        """Forget everything: the backbone has changed."""
        self._known = np.zeros(len(self._table), dtype=np.bool_)
        self._places = torch.full((len(self._table),), -1)  # of each row among the known ones, in the order of coming
        self._number = 0
        self._features: Tensor | None = None

    def lookup(self, rows: Tensor) -> Tensor:
        """Features ``[B, width]`` of rows that are known."""
        if self._features is None:
            raise RuntimeError("no features have been computed yet")
        return self._features[self._places[moved(rows, self._places.device)]]

    def add(self, backbone: Backbone, rows: NDArray[np.int64], batch_size: int | None = None) -> int:
        """Compute the features of those rows that are not known yet; returns how many were.

        Args:
            backbone: The network.
            rows: Which images.
            batch_size: How many pass through it at once; by default as `compute_features` has it.
        """
        missing = rows[~self._known[rows]]
        if len(missing):
            computed = self._source(backbone, self._table, missing, batch_size)
            with torch.inference_mode(False):  # a store that an evaluation begins is written to in training too
                self._keep(missing, computed)
        return len(missing)

    def _keep(self, rows: NDArray[np.int64], computed: Tensor) -> None:
        needed = self._number + len(rows)
        if self._features is None:
            self._places, self._features = (
                self._places.to(computed.device),
                computed.new_zeros(needed, computed.shape[1]),
            )
        elif needed > len(self._features):
            room = min(len(self._table), max(needed, 2 * len(self._features)))
            grown = self._features.new_zeros(room, computed.shape[1])
            grown[: self._number] = self._features[: self._number]
            self._features = grown
        self._features[self._number : needed] = computed
        self._places[torch.from_numpy(rows).to(computed.device)] = torch.arange(
            self._number, needed, device=computed.device
        )
        self._known[rows] = True
        self._number = needed


@torch.no_grad()
def compute_features(
    backbone: Backbone, images: NDArray[np.uint8], rows: NDArray[np.int64], batch_size: int | None = None
) -> Tensor:
    """Features ``[len(rows), width]`` in float32, in eval mode, without augmentation.

    Args:
        backbone: The network.
        images: All images of a table, uint8 ``[N, C, H, W]``.
        rows: Which of them.
        batch_size: How many pass through the network at once; by default as many as memory and device suggest.
    """
    device = next(backbone.parameters()).device
    at_once = batch_size or inference_batch_size(images.shape, device)
    chunks = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
    with in_eval_mode(backbone):
        features = [backbone(backbone.normalize(pixels)).float() for pixels in image_chunks(images, chunks, device)]
    return torch.cat(features)


@contextmanager
def in_eval_mode(backbone: Backbone) -> Iterator[None]:
    """A backbone in eval mode for a while."""
    was_training = backbone.training
    backbone.eval()
    yield
    backbone.train(was_training)
