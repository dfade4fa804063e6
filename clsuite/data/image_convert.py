"""Conversion of images from other libraries to square uint8 images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clsuite.data.decode import center_square, on_white
from clsuite.errors import UserError


def square_pixels(image: Any, size: int, what: str) -> NDArray[np.uint8]:
    """Pixels uint8 ``[C, size, size]`` of a PIL image, an array ``[H, W(, C)]`` or a tensor ``[C, H, W]``.

    Floats must lie in [0, 1]; bools are black and white. Like image files, 16-bit PIL images are scaled to 8 bits, and
    transparent ones are blended with white; but they are not rotated by their EXIF orientation. If the size differs,
    the shorter side is resized (bicubic) and the center is cut out.

    Args:
        image: The image.
        size: Side in pixels.
        what: Name of the image in error messages.

    Raises:
        UserError: If it is not an image: wrong shape, or values that are neither uint8 nor floats in [0, 1].
    """
    if isinstance(image, Image.Image):
        plain = on_white(image, what)
        pixels = np.asarray(plain if plain.mode in ("L", "RGB") else plain.convert("RGB"))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    elif isinstance(image, np.ndarray):
        pixels = image[None] if image.ndim == 2 else image.transpose(2, 0, 1) if image.ndim == 3 else image
    else:
        pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise UserError(f"{what} has shape {tuple(pixels.shape)}, but an image with one or three channels is needed")
    if pixels.dtype != np.uint8:
        _check_values(pixels, what)
        pixels = np.round(pixels * 255).astype(np.uint8)
    if pixels.shape[1:] == (size, size):
        return np.ascontiguousarray(pixels)
    return _resized(pixels, size)


def _check_values(pixels: NDArray[Any], what: str) -> None:
    """Check that values are floats in [0, 1].

    Raises:
        UserError: If they are not; says how they look and how to convert them.
    """
    if pixels.dtype == np.bool_:
        return
    if not np.issubdtype(pixels.dtype, np.number) or np.iscomplexobj(pixels):
        raise UserError(f"{what} has values of type {pixels.dtype}: they must be uint8, or floats in 0..1")
    low, high = pixels.min(), pixels.max()
    found = f"{what} has values in {low:.6g}..{high:.6g} ({pixels.dtype}): they must be uint8, or floats in 0..1"
    if not np.issubdtype(pixels.dtype, np.floating):
        if high <= 1 and low >= 0:
            raise UserError(f"{found}; an image of 0 and 1 is given as bool")
        fix = "scale them to 0..255 and convert" if high > 255 or low < 0 else "convert"
        raise UserError(f"{found}; {fix} them, for example with .astype(numpy.uint8) or .to(torch.uint8)")
    if not np.isfinite(pixels).all():
        raise UserError(f"{what} has values that are NaN or infinite")
    if low < 0:
        raise UserError(f"{found}; take normalization out of the eval transform, it is done on the device")
    if high > 1:
        raise UserError(f"{found}; divide them by {255 if high <= 255 else 'their largest possible value'}")


def _resized(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    square = np.asarray(center_square(image, size))
    return square[None] if square.ndim == 2 else np.ascontiguousarray(square.transpose(2, 0, 1))
