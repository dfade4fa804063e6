"""Rows of a table as a plain PyTorch data set, for libraries that want one sample at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset


class RowsDataset(Dataset[tuple[Tensor, int]]):
    """Some rows of a table: float images ``[C, H, W]`` in [0, 1] and labels."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Keep views; nothing is copied.

        Args:
            images: uint8 ``[N, C, H, W]``.
            labels: ``[N]``.
            rows: Which rows.
        """
        self._images, self._rows = images, rows
        self.targets: list[int] = labels[rows].tolist()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(np.array(self._images[self._rows[index]])).float() / 255, self.targets[index]
