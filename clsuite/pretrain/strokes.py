"""Batch-wise augmentation of ink drawings: a random affine map, stroke width and resolution for each sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def augment_strokes(ink: Tensor, out_size: int, coarse: float, generator: torch.Generator) -> Tensor:
    """Draw one augmented view of each drawing.

    Args:
        ink: Float ink in [0, 1], shape ``[B, 1, S, S]``, filling the square.
        out_size: Side of the returned views in pixels.
        coarse: Share of the views that are reduced to 8 x 8 pixels and enlarged again (like a low-resolution scan).
        generator: Source of all randomness.

    Returns:
        Views in [0, 1], shape ``[B, 1, out_size, out_size]``.
    """
    thick = _thicken(ink, generator)
    moved = _affine(thick, 2 * out_size, generator)
    views = F.avg_pool2d(moved, 2)
    low = F.interpolate(F.adaptive_avg_pool2d(moved, 8), size=out_size, mode="bilinear", align_corners=False)
    low = low / low.amax(dim=(2, 3), keepdim=True).clamp_min(1e-3)
    chosen = torch.rand(len(ink), 1, 1, 1, generator=generator) < coarse
    return torch.where(chosen, low, views)


def _thicken(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Dilate the strokes of each sample by 1 to 4 steps of a 3 x 3 maximum."""
    steps = torch.randint(1, 5, (len(ink), 1, 1, 1), generator=generator)
    thick = ink
    for step in range(1, 5):
        ink = F.max_pool2d(ink, 3, stride=1, padding=1)
        thick = torch.where(steps >= step, ink, thick)
    return thick


def _affine(ink: Tensor, out_size: int, generator: torch.Generator) -> Tensor:
    """Rotate by up to 15 degrees, scale by 0.85 to 1.25 per axis, shear by up to 0.25, shift by up to a tenth."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(ink), generator=generator)

    angle, shear = uniform(-math.pi / 12, math.pi / 12), uniform(-0.25, 0.25)
    wide, high = uniform(0.8, 1.18), uniform(0.8, 1.18)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [cos / wide, (shear - sin) / wide, uniform(-0.1, 0.1), sin / high, cos / high, uniform(-0.1, 0.1)]
    theta = torch.stack(rows, dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, [len(ink), 1, out_size, out_size], align_corners=False)
    return F.grid_sample(ink, grid, align_corners=False)
