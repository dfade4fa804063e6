"""Augmentation of whole batches on the compute device, with randomness per sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from clsuite.data.augment_spec import (
    AnyStep,
    AugMix,
    ColorJitter,
    Crop,
    Flip,
    RandAugment,
    ResizedCrop,
    TrivialAugment,
)
from clsuite.data.auto_augment import augmix, rand_augment, trivial_augment
from clsuite.data.color_jitter import color_jitter
from clsuite.data.geometry import crop, flip, flip_own, resized_crop

APPLY: dict[type[AnyStep], Callable[[Any, Tensor, torch.Generator], Tensor]] = {
    Flip: flip,
    Crop: crop,
    ResizedCrop: resized_crop,
    ColorJitter: color_jitter,
    RandAugment: rand_augment,
    TrivialAugment: trivial_augment,
    AugMix: augmix,
}
"""The function of each step: maps uint8 images ``[B, C, H, W]`` to new ones of the same shape."""


def augment(steps: Sequence[AnyStep], images: Tensor, generator: torch.Generator) -> Tensor:
    """Augment a batch of stored images, before they are normalized.

    The steps work on uint8 values, as torchvision's do on decoded images: this needs a quarter of the memory traffic of
    floats, and the values are still colors. All parameters are drawn from the generator, batch after batch. They depend
    on its seed, the number of the batch, the size of the batch and the position of a sample in it, but not on the
    images, the device or the way batches are loaded. A different batch size, or exemplars that a method adds, lead to
    different parameters.

    Args:
        steps: The steps, in the order in which they are applied.
        images: uint8 ``[B, C, H, W]`` with one or three channels; not modified.
        generator: Source of the random parameters, on the CPU.

    Returns:
        uint8 ``[B, C, H, W]``.
    """
    before: AnyStep | None = None
    for step in steps:
        if isinstance(step, Flip) and isinstance(before, Crop | ResizedCrop):  # which always make new images
            images = flip_own(step, images, generator)
        else:
            images = APPLY[type(step)](step, images, generator)
        before = step
    return images
