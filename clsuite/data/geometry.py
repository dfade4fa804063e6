"""Geometric augmentation of uint8 batches: flips and crops, drawn per sample.

Parameters are drawn on the CPU, so that they are the same for all devices.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.augment_spec import Crop, Flip, Range, ResizedCrop
from clsuite.data.on_device import moved
from clsuite.data.per_sample import by_group

TRIES = 10
LARGE = 3 * 64 * 64
"""Size of an image, in values, above which a loop over images is faster on a CPU than batched operations."""


def flip(step: Flip, images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability `step.p`."""
    one_by_one = images.device.type == "cpu" and images.shape[1:].numel() >= LARGE
    return flip_own(step, images.clone() if one_by_one else images, generator)


def flip_own(step: Flip, images: Tensor, generator: torch.Generator) -> Tensor:
    """Like `flip`, but in place: only for images that nothing else refers to.

    On a CPU the copy of each mirrored image stays in the processor's cache.
    """
    chosen = torch.rand(len(images), generator=generator) < step.p
    if images.device.type != "cpu" or images.shape[1:].numel() < LARGE:
        return by_group(images, chosen.long(), lambda mirrored, part, _: part.flip(-1) if mirrored else part)
    for index in chosen.nonzero().flatten().tolist():
        images[index] = images[index].flip(-1)
    return images


def crop(step: Crop, images: Tensor, generator: torch.Generator) -> Tensor:
    """Pad each image and cut a window of the original size at a uniformly random position."""
    number, _, height, width = images.shape
    down, across = round(step.padding * height), round(step.padding * width)
    if step.mode == "reflect":
        padded = F.pad(images.float(), (across, across, down, down), mode="reflect").to(images.dtype)
    else:
        padded = F.pad(images, (across, across, down, down))
    tops = torch.randint(2 * down + 1, (number,), generator=generator)
    lefts = torch.randint(2 * across + 1, (number,), generator=generator)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    device = images.device
    return windows[torch.arange(number, device=device), :, moved(tops, device), moved(lefts, device)]


def resized_crop(step: ResizedCrop, images: Tensor, generator: torch.Generator) -> Tensor:
    """Cut a random box from each image and resize it back bilinearly.

    A box is never larger than the image, so it is only enlarged, and antialiasing would have no effect. The stored
    images are enlarged: details that were lost when the table was made cannot be restored.
    """
    boxes = draw_boxes(len(images), images.shape[-2], images.shape[-1], step.scale, step.ratio, generator)
    return cut_boxes(images, boxes)


def draw_boxes(number: int, height: int, width: int, scale: Range, ratio: Range, generator: torch.Generator) -> Tensor:
    """Draw boxes like torchvision's ``RandomResizedCrop``: the first of ten that fits, otherwise a central one.

    Args:
        number: Number of boxes.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        scale: Smallest and largest area, as shares of the image's area.
        ratio: Smallest and largest aspect ratio (width over height); its logarithm is uniform.
        generator: Source of randomness, on the CPU.

    Returns:
        int64 ``[number, 4]`` on the CPU: top, left, height, width.
    """
    area = height * width * (scale[0] + (scale[1] - scale[0]) * torch.rand(number, TRIES, generator=generator))
    low, high = torch.tensor(ratio).log()
    aspect = torch.exp(low + (high - low) * torch.rand(number, TRIES, generator=generator))
    sides = torch.stack([(area / aspect).sqrt().round(), (area * aspect).sqrt().round()], dim=2)
    limits = torch.tensor([height, width])
    fits = ((sides >= 1) & (sides <= limits)).all(dim=2)
    first = sides[torch.arange(number), fits.int().argmax(dim=1)]
    place = torch.rand(number, 2, generator=generator)
    whole = torch.tensor([min(height, round(width / ratio[0])), min(width, round(height * ratio[1]))])
    missed = ~fits.any(dim=1, keepdim=True)
    first, place = torch.where(missed, whole, first), torch.where(missed, 0.5, place)
    room = limits - first
    corner = torch.where(missed, (room / 2).floor(), (place * (room + 1)).floor().minimum(room))
    return torch.cat([corner, first], dim=1).long()


def cut_boxes(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut one box from each image and enlarge it to the image's size.

    On the CPU each box is resized by torch's uint8 kernel with channels last, which is faster there than any batched
    operation; on other devices all boxes are resized together. The results differ by rounding, by at most one level.

    Args:
        images: uint8 ``[B, C, H, W]``.
        boxes: int64 ``[B, 4]`` on the CPU: top, left, height, width; within the image.
    """
    return _cut_one_by_one(images, boxes) if images.device.type == "cpu" else cut_together(images, boxes)


def _cut_one_by_one(images: Tensor, boxes: Tensor) -> Tensor:
    side_by_side = torch.channels_last
    result, size = torch.empty_like(images, memory_format=side_by_side), images.shape[-2:]
    for index, (top, left, height, width) in enumerate(boxes.tolist()):
        box = images[index : index + 1, :, top : top + height, left : left + width]
        box = box.contiguous(memory_format=side_by_side)
        result[index] = F.interpolate(box, size=size, mode="bilinear", align_corners=False)[0]
    return result


def cut_together(images: Tensor, boxes: Tensor) -> Tensor:
    """`cut_boxes` without a loop: first all rows are resized, then all columns."""
    top, left, height, width = moved(boxes, images.device).unbind(dim=1)
    rows = _stretch(images, top, height)
    both = _stretch(rows.transpose(2, 3), left, width).transpose(2, 3)
    return both.round().to(torch.uint8).contiguous()


def _stretch(images: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Bilinear resampling of rows ``start`` to ``start + length`` of each image to all its rows, as floats."""
    size = images.shape[2]
    centers = (torch.arange(size, device=images.device) + 0.5) * (length / size)[:, None] - 0.5
    position = centers.clamp(min=0)
    last = (length - 1)[:, None]
    low = position.floor().long().minimum(last)
    high = (low + 1).minimum(last)
    samples = torch.arange(len(images), device=images.device)[:, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[None, :, None]
    above = images[samples, channels, (start[:, None] + low)[:, None]].float()
    below = images[samples, channels, (start[:, None] + high)[:, None]].float()
    return torch.lerp(above, below, (position - low)[:, None, :, None])
