"""Decoding of an image file to square 8-bit RGB: upright, and on white where it is transparent."""

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
"""Exceptions that Pillow raises for damaged or too large files."""
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""The operation that turns an image of each EXIF orientation upright (EXIF 2.32, tag 274)."""
SIXTEEN_BITS = ("PNG", "PPM")
"""Formats of 16-bit values that Pillow returns as 32-bit integers."""
THIN = 16
"""Above this ratio of sides, only the part around the center square is resized."""


def decode(path: Path, size: int, content: bytes | None = None, squash: bool = False) -> NDArray[np.uint8]:
    """Decode one image to uint8 ``[3, size, size]``.

    It is turned upright according to its EXIF orientation, transparent parts become white, and 16-bit values are scaled
    to 8 bits. Only the first of several frames is used. The shorter side is resized to `size` (bicubic), and the center
    is cut out.

    Args:
        path: The file.
        size: Side in pixels.
        content: The bytes of the file, if they have been read.
        squash: Whether the whole image is resized to a square instead of being cut to one.

    Raises:
        UserError: If it cannot be decoded, or its values are floats or 32-bit integers; names the file.
    """
    try:
        with warnings.catch_warnings():  # Pillow's warnings on palettes and large images do not concern the result
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(read_bytes(path) if content is None else content)) as opened:
                opened.load()
                image = on_white(upright(opened), f"the image '{path}'").convert("RGB")
            square = image.resize((size, size), Image.Resampling.BICUBIC) if squash else center_square(image, size)
            return np.asarray(square).transpose(2, 0, 1)
    except UNDECODABLE as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "it is not an image, or of a format that this Pillow does not read"
        raise UserError(f"cannot decode the image '{path}': {reason}. Repair or delete the file.") from error


def upright(image: Image.Image) -> Image.Image:
    """Turn a loaded image upright by its EXIF orientation; unreadable EXIF data are ignored."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # a damaged block may raise anything, but the pixels are intact
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def on_white(image: Image.Image, what: str) -> Image.Image:
    """An 8-bit image without transparency: ``L``, or another mode that converts to RGB without loss.

    16-bit values are scaled by their full range (65,535 becomes 255), whichever part of it an image uses. Transparent
    pixels are blended with white.

    Args:
        image: The image.
        what: Name of the image in error messages.

    Raises:
        UserError: If the values are floats or 32-bit integers, whose range is unknown.
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

    For a very thin image only the visible square is resized: resizing the whole would need a lot of memory.
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
