"""Rows of a table as a PyTorch data set, for libraries that read one sample at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset


class RowsDataset(Dataset[tuple[Tensor, int]]):
    """Selected rows of a table: float images ``[C, H, W]`` in [0, 1] and labels."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        """Keep references to the arrays, without copies.

        Args:
            images: uint8 ``[N, C, H, W]``.
            labels: ``[N]``.
            rows: The selected rows.
            transform: Applied to each image.
        """
        self._images, self._rows, self._transform = images, rows, transform
        self.targets: list[int] = labels[rows].tolist()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(np.array(self._images[self._rows[index]])).float() / 255
        return image if self._transform is None else self._transform(image), self.targets[index]
