"""Normalization of stored images to the network's input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clsuite.data.buffer_pool import BufferPool

CHUNK = 200_000
"""Number of values that are normalized at a time on a CPU."""


class Normalize(nn.Module):
    """Converts uint8 images to normalized floats with three channels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Store the backbone's mean and standard deviation (per channel, for values in [0, 1])."""
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self._memory = BufferPool()
        self.register_buffer("std", 255 * torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 ``[B, C, H, W]`` (C is 1 or 3) to float ``[B, 3, H, W]``.

        On the CPU a few images at a time, so that they stay in the processor's cache between operations.
        """
        images = images.expand(-1, 3, -1, -1)
        if images.device.type == "cpu":
            floats, at_once = self._memory.empty(images.shape), max(1, CHUNK // max(1, images.shape[1:].numel()))
        else:
            floats, at_once = torch.empty(images.shape, device=images.device), max(1, len(images))
        for start in range(0, len(images), at_once):
            part = slice(start, start + at_once)
            floats[part].copy_(images[part]).sub_(self.mean).div_(self.std)
        return floats
