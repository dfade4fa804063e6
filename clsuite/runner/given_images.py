"""Checks images that are given to a trained model against those that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clsuite.errors import UserError


def checked_images(images: Any, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Images as an array uint8 ``[N, C, H, W]``.

    Args:
        images: An array or a tensor.
        shape: Shape of an image of the model: channels, height, width. It accepts images with one channel and with
            three alike.

    Raises:
        UserError: If they have another type or shape; says what to do with them.
    """
    array = images.detach().cpu().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    _check_shape(array.shape, tuple(shape))
    if array.dtype != np.uint8:
        found = f"the images have values of type {array.dtype}"
        if array.size and np.issubdtype(array.dtype, np.number):
            found += f" in {array.min():.4g}..{array.max():.4g}"
        fix = "scale them to 0..255 and convert them"
        if array.size and np.issubdtype(array.dtype, np.floating) and 0 <= array.min() <= array.max() <= 1:
            fix = "give (255 * images).round().astype(numpy.uint8)"
        raise UserError(f"{found}, but must be uint8 in 0..255, not normalized: {fix}")
    return array


def _check_shape(found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    channels, high, wide = shape
    wanted = f"[N, {channels}, {high}, {wide}]"
    problem = f"the images have the shape {list(found)}, but must be {wanted}"
    if len(found) == 3 and _is_one(found, shape):
        raise UserError(f"{problem}: a single one is given as images[None]")
    if len(found) == 3 and found[1:] == (high, wide):
        raise UserError(f"{problem}: those of one channel are given as images[:, None]")
    if len(found) == 4 and _is_one(found[1:], shape):
        return
    if found[-3:-1] == (high, wide) and found[-1] in (1, 3):
        turned = "images.transpose(0, 3, 1, 2)" if len(found) == 4 else "images.transpose(2, 0, 1)[None]"
        raise UserError(f"{problem}: channels come before height and width, {turned}")
    if len(found) == 4 and found[1] in (1, 3):
        raise UserError(f"{problem}: resize them to the {high} px that the model was trained at")
    raise UserError(problem)


def _is_one(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return found[0] in (1, 3) and found[1:] == shape[1:]
