"""Batch-wise transforms on the compute device, with randomness per sample.

torchvision's transforms draw one set of parameters per call, hence per batch; per-sample randomness with them means a
Python call per sample. The few operations here are written on whole batches instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


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
        return (images.expand(-1, 3, -1, -1).float() - self.mean) / self.std


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(chosen, images.flip(-1), images)


def resized_crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Cut a random box (area 0.5 to 1, aspect 3/4 to 4/3) from each image, resize it back bilinearly, and flip."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(images), generator=generator, device=images.device)

    side = uniform(0.5, 1.0).sqrt()
    aspect = torch.exp(uniform(math.log(3 / 4), math.log(4 / 3)) / 2)
    wide, high = (side * aspect).clamp(max=1.0), (side / aspect).clamp(max=1.0)
    zero = torch.zeros_like(wide)
    rows = [wide, zero, uniform(-1, 1) * (1 - wide), zero, high, uniform(-1, 1) * (1 - high)]
    theta = torch.stack(rows, dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False).to(images.dtype)
    return flip(F.grid_sample(images, grid, padding_mode="reflection", align_corners=False), generator)


def _none(images: Tensor, generator: torch.Generator) -> Tensor:
    return images


AUGMENTATIONS: dict[str, Augmentation] = {"none": _none, "flip": flip, "crop_flip": resized_crop_flip}
