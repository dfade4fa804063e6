"""Images as other libraries hand them out, made square and uint8."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clsuite.errors import UserError


def square_pixels(image: Any, size: int, what: str) -> NDArray[np.uint8]:
    """Pixels uint8 ``[C, size, size]`` of a PIL image, an array ``[H, W(, C)]`` or a tensor ``[C, H, W]``.

    Floats must lie in [0, 1]. Where the size differs, the shorter side is resized (bicubic) and the centre cut out.

    Args:
        image: The image.
        size: Side in pixels.
        what: Names it in errors.

    Raises:
        UserError: If it is no image: wrong shape, or floats outside [0, 1] (normalised).
    """
    if isinstance(image, Image.Image):
        pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    elif isinstance(image, np.ndarray):
        pixels = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    else:
        pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise UserError(f"{what} has shape {tuple(pixels.shape)}, but an image with one or three channels is needed")
    if pixels.dtype != np.uint8:
        if pixels.min() < 0 or pixels.max() > 1:
            raise UserError(
                f"{what} has values in {pixels.min():.2f}..{pixels.max():.2f}: take normalisation out of the eval "
                "transform, it is done on the device"
            )
        pixels = np.round(pixels * 255).astype(np.uint8)
    if pixels.shape[1:] == (size, size):
        return np.ascontiguousarray(pixels)
    return _resized(pixels, size)


def _resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    scale = size / min(image.size)
    wide, high = (max(size, round(side * scale)) for side in image.size)
    left, top = (wide - size) // 2, (high - size) // 2
    cut = image.resize((wide, high), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    square = np.asarray(cut)
    return square[None] if square.ndim == 2 else np.ascontiguousarray(square.transpose(2, 0, 1))
