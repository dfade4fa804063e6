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
"""What each step does to uint8 images ``[B, C, H, W]``; returns new ones of the same shape."""


def augment(steps: Sequence[AnyStep], images: Tensor, generator: torch.Generator) -> Tensor:
    """Augment a batch of stored images, before they are normalized.

    The steps work on uint8 values, as torchvision's do on decoded images: a quarter of the memory traffic of floats,
    and colors keep their meaning. All parameters are drawn from the generator, batch after batch. So they follow from
    its seed, the number of the batch, the batch's size and a sample's place in it; not from the images, the device, or
    how batches are loaded. Another batch size, or exemplars that a method adds, draw other parameters.

    Args:
        steps: In order.
        images: uint8 ``[B, C, H, W]`` with one or three channels; not changed.
        generator: On the CPU.

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
