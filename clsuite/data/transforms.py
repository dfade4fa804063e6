"""From stored images to the network's input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """uint8 images to normalised floats with three channels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Keep the backbone's mean and standard deviation (per channel, of values in [0, 1])."""
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 ``[B, C, H, W]`` (C is 1 or 3) to float ``[B, 3, H, W]``."""
        floats = images.expand(-1, 3, -1, -1).to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        return floats.sub_(self.mean).div_(self.std)
