"""Batches, and the loader that gathers them from a table by index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.data.stable_random import stable_random
from clsuite.data.table import ImageTable, read_rows


@dataclass(frozen=True)
class Batch:
    """A batch of samples.

    Attributes:
        images: uint8 ``[B, C, H, W]`` as stored, float ``[B, 3, H, W]`` once transformed, or None where the learner
            works on frozen features and looks them up by row.
        labels: int64 ``[B]`` stream labels.
        indices: int64 ``[B]`` indices of the table.
        replayed: bool ``[B]``, true for exemplars that a plugin added.
    """

    images: Tensor | None
    labels: Tensor
    indices: Tensor
    replayed: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def own(self) -> int:
        """Number of the batch's own samples: those that no plugin added."""
        return len(self) - int(self.replayed.sum())

    def to(self, device: torch.device) -> Batch:
        """Copy to a device."""
        moved = None if self.images is None else self.images.to(device, non_blocking=True)
        return Batch(moved, self.labels.to(device), self.indices.to(device), self.replayed.to(device))

    def with_images(self, images: Tensor) -> Batch:
        """The same samples with other pixels."""
        return replace(self, images=images)

    def extended(self, images: Tensor, labels: Tensor, indices: Tensor) -> Batch:
        """This batch followed by exemplars: uint8 ``[E, C, H, W]``, labels ``[E]`` and indices ``[E]``."""
        device = self.labels.device
        return Batch(
            None if self.images is None else torch.cat([self.images, images.to(device)]),
            torch.cat([self.labels, labels.to(device)]),
            torch.cat([self.indices, indices.to(device)]),
            torch.cat([self.replayed, torch.ones(len(labels), dtype=torch.bool, device=device)]),
        )


class BatchLoader:
    """Iterates over indices of a table in batches; every new iteration is a new epoch with its own permutation.

    Gathers by index, without Python per sample. The order follows from seed and epoch alone.
    """

    def __init__(
        self,
        table: ImageTable,
        labels: NDArray[np.int64],
        indices: NDArray[np.int64],
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        with_images: bool = True,
        repeats: int = 1,
    ) -> None:
        """Set up the loader.

        Args:
            table: The images.
            labels: Stream label of every row of the table.
            indices: Rows to iterate over.
            batch_size: Samples per batch; the last batch may be smaller.
            shuffle_seed: Seed of the permutations; None keeps the given order.
            with_images: False leaves the images out.
            repeats: How often in a row each batch comes.
        """
        self._table, self._labels, self._rows = table, labels, indices
        self._batch_size, self._shuffle_seed, self._with_images = batch_size, shuffle_seed, with_images
        self._epoch, self._repeats = 0, repeats
        self._skipped, self._before = 0, _nothing

    def begin_at(self, epoch: int, batch: int, before: Callable[[], None]) -> None:
        """Begin in the middle.

        Args:
            epoch: The first epoch.
            batch: Its first batch; the following epochs are whole.
            before: Called when all is ready for the first batch.
        """
        self._epoch, self._skipped, self._before = epoch, batch, before

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size) * self._repeats

    def __iter__(self) -> Iterator[Batch]:
        indices = self._rows
        if self._shuffle_seed is not None:
            indices = stable_random(self._shuffle_seed, "epoch", self._epoch).permutation(indices)
        self._epoch += 1
        first, self._skipped = self._skipped, 0
        before, self._before = self._before, _nothing
        before()
        for number in range(first, len(self)):
            start = number // self._repeats * self._batch_size
            yield gather(self._table, self._labels, indices[start : start + self._batch_size], self._with_images)


def _nothing() -> None:
    """What is done before the first batch of an epoch that is not taken up."""


def gather(table: ImageTable, labels: NDArray[np.int64], indices: NDArray[np.int64], with_images: bool = True) -> Batch:
    """Gather some indices of a table into a batch."""
    return Batch(
        torch.from_numpy(read_rows(table.images, indices)) if with_images else None,
        torch.from_numpy(labels[indices]),
        torch.from_numpy(np.ascontiguousarray(indices)),
        torch.zeros(len(indices), dtype=torch.bool),
    )
