"""RandAugment, TrivialAugment and AugMix on uint8 batches: samples with the same operation and strength are grouped.

The operations are torchvision's functional ones, and their ranges are those of torchvision's classes. These classes
draw one operation for a whole batch, as kornia's do, which moreover accept no generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from clsuite.data.augment_spec import AugMix, RandAugment, TrivialAugment
from clsuite.data.on_device import moved
from clsuite.data.per_sample import by_group
from clsuite.private_api import standard_gamma


@dataclass(frozen=True)
class Space:
    """The strengths of the operations, in equal steps from zero to the maximum.

    Attributes:
        bins: Number of strengths.
        shear: Largest shear, as the tangent of the angle.
        translate: Largest translation, as a share of the side.
        translate_pixels: Largest translation in pixels, if it is not a share.
        rotate: Largest rotation in degrees.
        factor: Largest change of the factors of brightness, color, contrast and sharpness.
        bits: Bits that posterization keeps at the lowest and at the largest strength.
        identity: Whether the identity is one of the operations.
        interpolation: Interpolation of the geometric operations.
    """

    bins: int
    shear: float
    translate: float
    translate_pixels: float
    rotate: float
    factor: float
    bits: tuple[int, int]
    identity: bool
    interpolation: InterpolationMode = InterpolationMode.NEAREST


RAND = Space(31, 0.3, 150 / 331, 0.0, 30.0, 0.9, (8, 4), identity=True)
TRIVIAL = Space(31, 0.99, 0.0, 32.0, 135.0, 0.99, (8, 2), identity=True)
AUGMIX = Space(10, 0.3, 1 / 3, 0.0, 30.0, 0.9, (4, 0), identity=False, interpolation=InterpolationMode.BILINEAR)

Operation = Callable[[Tensor, Space, float], Any]
"""Maps a batch, a space and a strength in [-1, 1] to a batch."""


def _affine(images: Tensor, space: Space, **change: Any) -> Any:
    arguments = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **change}
    return F.affine(images, interpolation=space.interpolation, **arguments)


def _shear_x(images: Tensor, space: Space, strength: float) -> Any:
    return _affine(images, space, shear=[math.degrees(math.atan(strength * space.shear)), 0.0], center=[0, 0])


def _shear_y(images: Tensor, space: Space, strength: float) -> Any:
    return _affine(images, space, shear=[0.0, math.degrees(math.atan(strength * space.shear))], center=[0, 0])


def _translate_x(images: Tensor, space: Space, strength: float) -> Any:
    pixels = strength * (space.translate * images.shape[-1] + space.translate_pixels)
    return _affine(images, space, translate=[int(pixels), 0])


def _translate_y(images: Tensor, space: Space, strength: float) -> Any:
    pixels = strength * (space.translate * images.shape[-2] + space.translate_pixels)
    return _affine(images, space, translate=[0, int(pixels)])


def _posterize(images: Tensor, space: Space, strength: float) -> Any:
    return F.posterize(images, round(space.bits[0] + strength * (space.bits[1] - space.bits[0])))


SIGNED: dict[str, Operation] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": lambda images, space, strength: F.rotate(
        images, strength * space.rotate, interpolation=space.interpolation
    ),
    "brightness": lambda images, space, strength: F.adjust_brightness(images, 1 + strength * space.factor),
    "color": lambda images, space, strength: F.adjust_saturation(images, 1 + strength * space.factor),
    "contrast": lambda images, space, strength: F.adjust_contrast(images, 1 + strength * space.factor),
    "sharpness": lambda images, space, strength: F.adjust_sharpness(images, 1 + strength * space.factor),
}
"""Operations whose strength has a random sign."""

UNSIGNED: dict[str, Operation] = {
    "posterize": _posterize,
    "solarise": lambda images, space, strength: F.solarize(images, 255 * (1 - strength)),
    "autocontrast": lambda images, space, strength: F.autocontrast(images),
    "equalise": lambda images, space, strength: F.equalize(images),
    "identity": lambda images, space, strength: images,
}
"""Operations whose strength has no sign; ``identity`` comes last."""

OPERATIONS = {**SIGNED, **UNSIGNED}


def rand_augment(step: RandAugment, images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply to each sample a few random operations, all of the same strength."""
    strengths = torch.full((len(images),), step.magnitude)
    for _ in range(step.operations):
        images = operate(RAND, images, strengths, generator)
    return images


def trivial_augment(step: TrivialAugment, images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply to each sample one random operation of a random strength."""
    strengths = torch.randint(TRIVIAL.bins, (len(images),), generator=generator)
    return operate(TRIVIAL, images, strengths, generator)


def augmix(step: AugMix, images: Tensor, generator: torch.Generator) -> Tensor:
    """Mix each sample with a mixture of several random chains of operations."""
    number = len(images)
    weights = _dirichlet(number, step.width, step.alpha, generator)
    share = _dirichlet(number, 2, step.alpha, generator)
    parts = moved(torch.cat([share[:, :1], share[:, 1:] * weights], dim=1), images.device)
    mixed = parts[:, 0].view(-1, 1, 1, 1) * images
    for chain in range(step.width):
        lengths = torch.randint(1, step.depth + 1, (number,), generator=generator)
        changed = images
        for position in range(step.depth):
            strengths = torch.randint(step.severity, (number,), generator=generator)
            changed = operate(AUGMIX, changed, strengths, generator, acts=lengths > position)
        mixed += parts[:, chain + 1].view(-1, 1, 1, 1) * changed
    return mixed.clamp_(0, 255).to(torch.uint8)


def operate(
    space: Space, images: Tensor, strengths: Tensor, generator: torch.Generator, acts: Tensor | None = None
) -> Tensor:
    """Draw an operation and a sign for each sample, and apply them.

    Args:
        space: The strengths.
        images: uint8 ``[B, C, H, W]``.
        strengths: int64 ``[B]`` on the CPU, below ``space.bins``.
        generator: On the CPU.
        acts: bool ``[B]`` on the CPU: which samples are changed; all by default.
    """
    names = list(OPERATIONS)[: None if space.identity else -1]
    number = len(images)
    drawn = torch.randint(len(names), (number,), generator=generator)
    negative = torch.rand(number, generator=generator) < 0.5
    signed = torch.where(negative & (drawn < len(SIGNED)), -strengths, strengths)
    groups = (2 * space.bins) * drawn + signed + space.bins
    if acts is not None:
        groups = groups.where(acts, -1)

    def apply(group: int, part: Tensor, _: Tensor) -> Tensor:
        if group < 0:
            return part
        operation, strength = divmod(group, 2 * space.bins)
        changed: Tensor = OPERATIONS[names[operation]](part, space, (strength - space.bins) / (space.bins - 1))
        return changed

    return by_group(images, groups, apply)


def _dirichlet(number: int, width: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Weights ``[number, width]`` from a symmetric Dirichlet distribution."""
    return normalize(standard_gamma(torch.full((number, width), alpha), generator), p=1.0, dim=1)
