"""Color jitter of uint8 batches with one factor per sample; torchvision's has one factor for the whole batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import rgb_to_grayscale

from clsuite.data.augment_spec import ColorJitter
from clsuite.data.on_device import moved
from clsuite.data.per_sample import by_group

Adjust = Callable[[Tensor, Tensor], Tensor]


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Scale all values of uint8 images ``[B, C, H, W]`` by factors ``[B]``."""
    return _blend(images, torch.zeros(1, device=images.device), factors)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the difference of each pixel from the mean gray of its image."""
    return _blend(images, _gray(images).floor().mean(dim=(1, 2, 3), keepdim=True), factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Scale the difference of each pixel from its gray value."""
    return images if images.shape[1] == 1 else _blend(images, _gray(images).floor(), factors)


def adjust_hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Shift all hues by fractions of the color circle."""
    if images.shape[1] == 1:
        return images
    values = images.float() / 255
    top, bottom = values.amax(dim=1, keepdim=True), values.amin(dim=1, keepdim=True)
    hue = _hue(values, top, top - bottom) + 6 * shifts.view(-1, 1, 1, 1)
    turned = (hue + moved(torch.tensor([5.0, 3.0, 1.0]), images.device).view(1, 3, 1, 1)) % 6
    ramp = torch.minimum(turned, 4 - turned).clamp(0, 1)
    return (255 * (top - (top - bottom) * ramp)).round().to(torch.uint8)


ADJUSTMENTS: tuple[Adjust, ...] = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def color_jitter(step: ColorJitter, images: Tensor, generator: torch.Generator) -> Tensor:
    """Jitter each sample with random factors in a random order."""
    number = len(images)
    reach = torch.tensor([step.brightness, step.contrast, step.saturation, step.hue])
    low = torch.tensor([1 - step.brightness, 1 - step.contrast, 1 - step.saturation, -step.hue])
    low[:3].clamp_(min=0)
    high = torch.tensor([1.0, 1.0, 1.0, 0.0]) + reach
    factors = low + (high - low) * torch.rand(number, 4, generator=generator)
    order = torch.rand(number, 4, generator=generator).argsort(dim=1)
    chosen = torch.rand(number, generator=generator) < step.p
    factors = moved(factors, images.device)
    for turn in order.T:
        acts = chosen & (reach[turn] > 0)
        images = by_group(images, turn.where(acts, -1), _adjustment(factors))
    return images


def _adjustment(factors: Tensor) -> Callable[[int, Tensor, Tensor], Tensor]:
    return lambda which, part, index: part if which < 0 else ADJUSTMENTS[which](part, factors[index, which])


def _blend(images: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    blended = torch.lerp(other.expand(images.shape), images.float(), factors.view(-1, 1, 1, 1))
    return blended.clamp_(0, 255).to(torch.uint8)


def _gray(images: Tensor) -> Tensor:
    """Luma ``[B, 1, H, W]`` as floats."""
    return images.float() if images.shape[1] == 1 else rgb_to_grayscale(images.float())


def _hue(values: Tensor, top: Tensor, chroma: Tensor) -> Tensor:
    """Hue ``[B, 1, H, W]`` in sixths of the color circle; 0 for gray pixels."""
    red, green, blue = values.unsqueeze(2).unbind(dim=1)
    span = torch.where(chroma == 0, 1.0, chroma)
    from_green = (blue - red) / span + 2
    from_blue = (red - green) / span + 4
    return torch.where(top == red, (green - blue) / span, torch.where(top == green, from_green, from_blue))
