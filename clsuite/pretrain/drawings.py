"""Reads the Omniglot drawings from their zip archives into one uint8 array."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from clsuite.data.decode import UNDECODABLE
from clsuite.errors import UserError, listed, printable
from clsuite.regular_files import open_regular

UNPACKED = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)
"""Exceptions that unpacking raises for damaged and encrypted archives."""
LARGEST_DRAWING = 1 << 24
Ink = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]


def read_drawings(archives: Sequence[Path], size: int) -> tuple[Ink, list[str]]:
    """Decode all drawings, each cropped to its ink and centered on a square.

    Characters in several archives are merged by ``ALPHABET/CHARACTER/FILE``, so that no class occurs twice.

    Args:
        archives: Omniglot zip files (``ARCHIVE/ALPHABET/CHARACTER/DRAWING.png``).
        size: Side of the returned images in pixels.

    Returns:
        Ink of shape ``[N, size, size]`` (255 = ink) and, for each drawing, its character ``ALPHABET/CHARACTER``.

    Raises:
        UserError: If an archive is missing, damaged, not a zip file or without drawings.
    """
    found: dict[str, Image.Image] = {}
    for archive in archives:
        for name, image in _members(archive):
            found.setdefault("/".join(name.split("/")[-3:]), image)
    if not found:
        raise UserError(f"there are no drawings (.png) in {listed(repr(str(archive)) for archive in archives)}")
    names = sorted(found)
    ink = np.stack([_centered(found[name], size) for name in names])
    return ink, [name.rsplit("/", 1)[0] for name in names]


def _members(archive: Path) -> Iterator[tuple[str, Image.Image]]:
    """Name and image of each drawing in an archive; errors name the drawing."""
    name = ""
    try:
        with open_regular(archive) as content, zipfile.ZipFile(content) as opened:
            for info in opened.infolist():
                name = info.filename
                if name.endswith(".png"):
                    if info.file_size > LARGEST_DRAWING:
                        raise ValueError(f"it is unpacked to {info.file_size} bytes, and drawings have some hundred")
                    yield name, Image.open(io.BytesIO(opened.read(info))).convert("L")
    except (*UNDECODABLE, *UNPACKED) as error:
        member = f"'{printable(name)}' of " if name else ""
        raise UserError(f"cannot read the drawings in {member}'{archive}': {error or type(error).__name__}") from error


def _centered(image: Image.Image, size: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Invert, crop to the bounding box of the ink, pad to a square and resize."""
    ink = Image.eval(image, lambda value: 255 - value)
    cut = ink.crop(ink.getbbox() or (0, 0, *ink.size))
    side = max(cut.size)
    square = Image.new("L", (side, side))
    square.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)
