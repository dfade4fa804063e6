"""One image file to pixels: upright, on white, eight bits, square."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clsuite.errors import UserError
from clsuite.regular_files import read_bytes

UNDECODABLE = (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError, MemoryError)
"""What Pillow raises on damaged or too large files."""
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What brings an image of each EXIF orientation upright (EXIF 2.32, tag 274)."""
SIXTEEN_BITS = ("PNG", "PPM")
"""Formats whose values run to 65,535 where Pillow hands them out as 32-bit numbers."""
THIN = 16
"""A resized image of more than so many squares is resized around the square alone."""


def decode(path: Path, size: int, content: bytes | None = None) -> NDArray[np.uint8]:
    """Decode one image to uint8 ``[3, size, size]``.

    It is turned upright by its EXIF orientation, laid on white where it is transparent, and values of 16 bits are
    scaled to 8. Of several frames the first is taken. The shorter side is resized to `size` (bicubic) and the center
    is cut out.

    Args:
        path: The file.
        size: Side in pixels.
        content: Its bytes, where they have been read.

    Raises:
        UserError: If it cannot be decoded, or has floats or 32-bit numbers as values; it is named.
    """
    try:
        with warnings.catch_warnings():  # Pillow's about palettes and large images say nothing about the result
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(read_bytes(path) if content is None else content)) as opened:
                opened.load()
                image = on_white(upright(opened), f"the image '{path}'").convert("RGB")
            return np.asarray(center_square(image, size)).transpose(2, 0, 1)
    except UNDECODABLE as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "it is not an image, or of a format that this Pillow does not read"
        raise UserError(f"cannot decode the image '{path}': {reason}. Repair or delete the file.") from error


def upright(image: Image.Image) -> Image.Image:
    """Turn a loaded image as its EXIF orientation says; EXIF data that cannot be read say nothing."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # a damaged block raises anything, and the pixels are good
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def on_white(image: Image.Image, what: str) -> Image.Image:
    """An image of 8 bits a channel without transparency: ``L``, or another mode that converts to RGB as it is.

    Values of 16 bits are scaled by their full range (65,535 becomes 255), whatever part of it an image uses. What is
    transparent is laid on white, in shares where it is transparent in part.

    Args:
        image: The image.
        what: Names it in errors.

    Raises:
        UserError: If the values are floats or 32-bit numbers, whose range nobody states.
    """
    if image.mode == "F" or (image.mode == "I" and image.format not in SIXTEEN_BITS):
        values = "floats" if image.mode == "F" else "32-bit numbers"
        raise UserError(f"{what} has {values} as values, whose range is not known: save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _eight_bits(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.uint32)
    scaled = ((values * 255 + 32767) // 65535).astype(np.uint8)
    key = image.info.get("transparency")
    return Image.fromarray(scaled if not isinstance(key, int) else np.where(values == key, np.uint8(255), scaled))


def center_square(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to `size` (bicubic) and cut out the center.

    Of a very thin image only what the square shows is resized: the whole would take thousands of squares.
    """
    scale = size / min(image.size)
    wide, high = (max(size, round(side * scale)) for side in image.size)
    left, top = (wide - size) // 2, (high - size) // 2
    if wide * high > THIN * size**2:
        across, down = image.width / wide, image.height / high
        box = (left * across, top * down, (left + size) * across, (top + size) * down)
        return image.resize((size, size), Image.Resampling.BICUBIC, box)
    if scale != 1:
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
    return image.crop((left, top, left + size, top + size))
