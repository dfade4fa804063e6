"""Features of the samples in a table, computed once per image while the backbone is frozen."""

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
    """A function that returns the same features as `compute_features`, computed or stored."""

    def __call__(
        self, backbone: Backbone, table: ImageTable, rows: NDArray[np.int64], batch_size: int | None = None
    ) -> Tensor:
        """Return features ``[len(rows), width]``."""


def computed_here(
    backbone: Backbone, table: ImageTable, rows: NDArray[np.int64], batch_size: int | None = None
) -> Tensor:
    """Compute features in this process; the default source."""
    return compute_features(backbone, table.images, rows, batch_size)


class FeatureStore:
    """Features without augmentation, by index into the table.

    Images are passed through the backbone in chunks of the requested rows, so that the same request has the same bits.
    Known rows are looked up. Memory is allocated for known rows, and at most twice as much while growing.

    Attributes:
        discarded: How often everything was discarded: what others keep of the same network is as old as this number.
    """

    def __init__(self, scenario: Scenario, source: Source = computed_here) -> None:
        """Create an empty store for a scenario's table, with a source of features."""
        self._scenario, self._table, self._source = scenario, scenario.table, source
        self._others: WeakSet[FeatureStore] = WeakSet()
        self.discarded = 0
        self.clear()

    def fresh(self) -> FeatureStore:
        """Create an empty store for the same table."""
        other = FeatureStore(self._scenario, self._source)
        self._others.add(other)
        return other

    def forget(self) -> None:
        """Discard everything, also in the stores created by `fresh`: the pre-trained network itself has changed."""
        self.clear()
        for other in self._others:
            other.forget()

    def clear(self) -> None:
        """Discard everything: the backbone has changed."""
        self.discarded += 1
        self._known = np.zeros(len(self._table), dtype=np.bool_)
        self._places = torch.full((len(self._table),), -1)  # the position of each row in the features
        self._number = 0
        self._features: Tensor | None = None

    def lookup(self, rows: Tensor) -> Tensor:
        """Return features ``[B, width]`` of known rows."""
        if self._features is None:
            raise RuntimeError("no features have been computed yet")
        return self._features[self._places[moved(rows, self._places.device)]]

    def add(self, backbone: Backbone, rows: NDArray[np.int64], batch_size: int | None = None) -> int:
        """Compute the features of rows that are not known yet; returns the number of these.

        Args:
            backbone: The network.
            rows: Indices of the images.
            batch_size: Number of images in a forward pass; by default that of `compute_features`.
        """
        missing = rows[~self._known[rows]]
        if len(missing):
            computed = self._source(backbone, self._table, missing, batch_size)
            with torch.inference_mode(False):  # a store that is created in an evaluation is used in training too
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
    """Compute features ``[len(rows), width]`` in float32, in eval mode and without augmentation.

    Args:
        backbone: The network.
        images: All images of a table, uint8 ``[N, C, H, W]``.
        rows: Indices of the images to use.
        batch_size: Number of images in a forward pass; by default it depends on image size and device.
    """
    device = next(backbone.parameters()).device
    at_once = batch_size or inference_batch_size(images.shape, device)
    chunks = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
    with in_eval_mode(backbone):
        features = [backbone(backbone.normalize(pixels)).float() for pixels in image_chunks(images, chunks, device)]
    return torch.cat(features)


@contextmanager
def in_eval_mode(backbone: Backbone) -> Iterator[None]:
    """Put a backbone into eval mode inside the context."""
    was_training = backbone.training
    backbone.eval()
    try:
        yield
    finally:
        backbone.train(was_training)
