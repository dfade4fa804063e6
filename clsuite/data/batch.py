"""Batches, and the loader that reads them from a table by index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.data.columns import Columns, checked, joined
from clsuite.data.on_device import image_chunks, moved
from clsuite.data.stable_random import stable_random
from clsuite.data.table import ImageTable, read_rows


@dataclass(frozen=True)
class Batch:
    """A batch of samples.

    Attributes:
        images: Images, uint8 ``[B, C, H, W]`` as stored, or float ``[B, 3, H, W]`` after the transformation. None if
            the learner looks up cached features by index.
        labels: Stream labels, int64 ``[B]``.
        indices: Indices into the table, int64 ``[B]``.
        replayed: Whether a sample is an exemplar that a plugin has added, bool ``[B]``.
        columns: Further columns by name, each ``[B, ...]``: ``weights`` ``[B]`` and soft labels ``targets`` ``[B, C]``,
            which the cross-entropy uses, stored ``logits``, and others that plugins need.
        known: Copies of labels, indices and `replayed` on the CPU, if there are any; see `host`.
    """

    images: Tensor | None
    labels: Tensor
    indices: Tensor
    replayed: Tensor
    columns: Columns = field(default_factory=dict)
    known: Known | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def own(self) -> int:
        """Number of samples that were not added by plugins."""
        return len(self) - int(self.host.replayed.sum())

    @property
    def host(self) -> Batch:
        """The batch on the CPU, without images and columns. This waits for a GPU only if there is no copy yet."""
        columns = (self.labels, self.indices, self.replayed)
        if self.known is not None and all(one is of for one, of in zip(columns, self.known.of, strict=True)):
            return self.known.there
        return Batch(None, self.labels.cpu(), self.indices.cpu(), self.replayed.cpu())

    def knowing(self, there: Batch) -> Batch:
        """Return the same batch with a copy of its labels, indices and `replayed` on the CPU."""
        return replace(self, known=Known(replace(there, images=None), (self.labels, self.indices, self.replayed)))

    def to(self, device: torch.device) -> Batch:
        """Copy to a device."""
        images = None if self.images is None else moved(self.images, device)
        labels, indices, replayed = (moved(column, device) for column in (self.labels, self.indices, self.replayed))
        columns = {name: moved(column, device) for name, column in self.columns.items()}
        there = Batch(images, labels, indices, replayed, columns)
        return there if device.type == "cpu" else there.knowing(self.host)

    def with_images(self, images: Tensor) -> Batch:
        """Return the same samples with other images."""
        return replace(self, images=images)

    def with_columns(self, **columns: Tensor) -> Batch:
        """Return the same samples with additional columns.

        Args:
            columns: Columns by name, each ``[B, ...]``; see `columns`.

        Raises:
            UserError: If a column does not have a row for each sample.
        """
        return replace(self, columns={**self.columns, **checked(columns, len(self))})

    def part(self, rows: slice) -> Batch:
        """Return a contiguous part of the samples."""
        images = None if self.images is None else self.images[rows]
        columns = {name: column[rows] for name, column in self.columns.items()}
        part = Batch(images, self.labels[rows], self.indices[rows], self.replayed[rows], columns)
        return part if self.labels.device.type == "cpu" else part.knowing(self.host.part(rows))

    def extended(self, images: Tensor, labels: Tensor, indices: Tensor, **columns: Tensor) -> Batch:
        """Return this batch with exemplars appended.

        If only one of the two has a column, the other gets a weight of 1, the label as a soft label, or nan.

        Args:
            images: Images, uint8 ``[E, C, H, W]``.
            labels: Stream labels ``[E]``.
            indices: Indices into the table ``[E]``.
            columns: Columns of the exemplars by name, each ``[E, ...]``.

        Raises:
            UserError: If a column does not have a row for each exemplar, or its rows differ in shape from the batch's.
        """
        device = self.labels.device
        longer = Batch(
            None if self.images is None else torch.cat([self.images, moved(images, device)]),
            torch.cat([self.labels, moved(labels, device)]),
            torch.cat([self.indices, moved(indices, device)]),
            torch.cat([self.replayed, torch.ones(len(labels), dtype=torch.bool, device=device)]),
            self._columns_with(columns, labels),
        )
        if device.type == "cpu" or labels.device.type != "cpu" or indices.device.type != "cpu":
            return longer
        return longer.knowing(self.host.extended(images, labels, indices))

    def _columns_with(self, columns: Columns, labels: Tensor) -> dict[str, Tensor]:
        """The columns of this batch with those of appended exemplars."""
        if not columns and not self.columns:
            return {}
        given = checked(columns, len(labels))
        return joined(self.columns, self.host.labels, given, labels, self.labels.device)


@dataclass(frozen=True)
class Known:
    """A copy of a batch on the CPU.

    Attributes:
        there: The batch on the CPU, without its images.
        of: The labels, indices and `replayed` that were copied; the copy is not valid for a batch with other ones.
    """

    there: Batch
    of: tuple[Tensor, Tensor, Tensor]


class BatchLoader:
    """Iterates over indices into a table in batches; each iteration is a new epoch with its own permutation.

    Batches are read by index, without a Python loop over samples. The order depends only on seed and epoch.
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
        device: torch.device | None = None,
    ) -> None:
        """Create the loader.

        Args:
            table: The images.
            labels: Stream labels of all rows of the table.
            indices: Indices to iterate over.
            batch_size: Number of samples per batch; the last batch may be smaller.
            shuffle_seed: Seed of the permutations; None keeps the given order.
            with_images: Whether batches have images.
            repeats: Number of times that each batch is repeated consecutively.
            device: The device of the batches; by default the CPU.
        """
        self._table, self._labels, self._rows = table, labels, indices
        self._batch_size, self._shuffle_seed, self._with_images = batch_size, shuffle_seed, with_images
        self._epoch, self._repeats = 0, repeats
        self._device = torch.device("cpu") if device is None else device
        self._skipped, self._before = 0, _nothing

    def begin_at(self, epoch: int, batch: int, before: Callable[[], None]) -> None:
        """Set the position at which the next iteration begins.

        Args:
            epoch: The first epoch.
            batch: Its first batch; the following epochs are whole.
            before: Called right before the first batch.
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
        starts = [number // self._repeats * self._batch_size for number in range(first, len(self))]
        if self._device.type != "cpu":
            yield from self._on_device(indices, starts)
            return
        for start in starts:
            yield gather(self._table, self._labels, indices[start : start + self._batch_size], self._with_images)

    def _on_device(self, indices: NDArray[np.int64], starts: Sequence[int]) -> Iterator[Batch]:
        """Batches on a device: labels and indices of an epoch are copied at once, so that batches need not wait."""
        parts = [slice(start, start + self._batch_size) for start in starts]
        rows = moved(torch.from_numpy(np.ascontiguousarray(indices)), self._device)
        labels = moved(torch.from_numpy(self._labels[indices]), self._device)
        chunks = [indices[part] for part in parts]
        pixels = image_chunks(self._table.images, chunks, self._device) if self._with_images else repeat(None)
        for part, chunk, images in zip(parts, chunks, pixels, strict=False):
            replayed = torch.zeros(len(chunk), dtype=torch.bool, device=self._device)
            batch = Batch(images, labels[part], rows[part], replayed)
            yield batch.knowing(gather(self._table, self._labels, chunk, with_images=False))


def _nothing() -> None:
    """Do nothing; the default before the first batch of an epoch."""


def gather(table: ImageTable, labels: NDArray[np.int64], indices: NDArray[np.int64], with_images: bool = True) -> Batch:
    """Read the samples at indices of a table into a batch."""
    return Batch(
        torch.from_numpy(read_rows(table.images, indices)) if with_images else None,
        torch.from_numpy(labels[indices]),
        torch.from_numpy(np.ascontiguousarray(indices)),
        torch.zeros(len(indices), dtype=torch.bool),
    )
