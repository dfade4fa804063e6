"""The contestants of `data.py`: what delivers augmented, normalized batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from clsuite.data.augment import augment
from clsuite.data.augment_spec import PRESETS
from clsuite.data.batch import BatchLoader
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.data.transforms import Normalize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEED = 0
CHUNK = 500


@dataclass
class AugmentedTable:
    """clsuite's way from the table to the network's input, as the learner goes it."""

    loader: BatchLoader

    def __post_init__(self) -> None:
        """Prepare the transforms."""
        self._normalize, self._steps = Normalize(MEAN, STD), PRESETS["imagenet"][1]
        self._generator = torch.Generator().manual_seed(SEED)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of one epoch."""
        for batch in self.loader:
            assert batch.images is not None
            yield self._normalize(augment(self._steps, batch.images, self._generator)), batch.labels


def table_batches(table: ImageTable, batch_size: int) -> AugmentedTable:
    """The training images of a table."""
    rows = np.flatnonzero(~table.is_test)
    return AugmentedTable(BatchLoader(table, table.labels, rows, batch_size, shuffle_seed=SEED))


def clsuite_batches(folder: Path, size: int, batch_size: int) -> AugmentedTable:
    """The training images of a folder, by way of the cached table."""
    return table_batches(_table(folder, size), batch_size)


def folder_batches(folder: Path, size: int, batch_size: int, workers: int, version: str) -> DataLoader[Any]:
    """Torchvision's way, as its references write it; workers stay alive from epoch to epoch."""
    if version == "v1":
        steps: Any = transforms.Compose(
            [
                transforms.RandomResizedCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )
    else:
        steps = v2.Compose(
            [
                v2.PILToTensor(),
                v2.RandomResizedCrop(size, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )
    data = ImageFolder(str(folder / "train"), steps)
    return DataLoader(data, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def images_in(batches: Iterable[Any]) -> int:
    """Images of one epoch."""
    return sum(len(labels) for _, labels in batches)


def large_table(folder: Path, size: int, rows: int, scratch: Path) -> ImageTable:
    """A memory-mapped table of many training images: the folder's, over and over."""
    small = _table(folder, size)
    path = scratch / "images.npy"
    written = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, *small.images.shape[1:]))
    for start in range(0, rows, CHUNK):
        chosen = np.arange(start, min(start + CHUNK, rows)) % len(small)
        written[start : start + CHUNK] = small.images[chosen]
    written.flush()
    chosen = np.arange(rows) % len(small)
    return replace(
        small,
        images=np.load(path, mmap_mode="r"),
        labels=small.labels[chosen],
        domains=small.domains[chosen],
        digests=small.digests[chosen],
        is_test=np.zeros(rows, dtype=np.bool_),
    )


def _table(folder: Path, size: int) -> ImageTable:
    return load_table(DatasetSpec(name="image_folder", path=str(folder.absolute())), size)
