"""Image folders: ``train/CLASS/*`` and ``test/CLASS/*``, or the same below one folder per domain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clsuite.data.listing import Sample
from clsuite.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif"}
TEST_NAMES = ("test", "val", "validation")


def is_tree(root: Path) -> bool:
    """Whether a folder has ``train`` inside, or a domain that has it inside."""
    if not root.is_dir():
        return False
    return (root / "train").is_dir() or any((entry / "train").is_dir() for entry in root.iterdir())


def list_folder(root: Path) -> list[Sample]:
    """List the image files of a tree in sorted order.

    Args:
        root: Folder with ``train`` and ``test`` (or ``val``) inside, or with domains that have them inside.

    Raises:
        UserError: If the folder is missing, has another layout, a class folder is empty, or a class is only in test.
    """
    if not root.is_dir():
        raise UserError(f"no data at '{root}': expected a folder with train/CLASS/*.png and test/CLASS/*.png")
    domains = [""] if (root / "train").is_dir() else sorted(d.name for d in root.iterdir() if (d / "train").is_dir())
    if not domains:
        raise UserError(f"'{root}' has neither train/CLASS/*.png nor DOMAIN/train/CLASS/*.png inside")
    files = [file for domain in domains for file in _list_domain(root, domain)]
    if not files:
        raise UserError(f"'{root}' has no class folders in train and test")
    trained = {(file.domain, file.label) for file in files if not file.is_test}
    for file in files:
        if (file.domain, file.label) not in trained:
            raise UserError(f"class '{file.label}' of '{root / file.domain}' has test images but no training images")
    return files


def _list_domain(root: Path, domain: str) -> list[Sample]:
    folder = root / domain
    test = next((name for name in TEST_NAMES if (folder / name).is_dir()), None)
    if test is None:
        raise UserError(f"'{folder}' has a train folder but no test folder ({', '.join(TEST_NAMES)})")
    prefix = f"{domain}/" if domain else ""
    return [
        Sample(path, label, part == test, domain)
        for part in ("train", test)
        for path, label in list_classes(root, f"{prefix}{part}")
    ]


def list_classes(root: Path, part: str = "") -> list[tuple[str, str]]:
    """List ``part/CLASS/*`` in sorted order.

    Returns:
        Path relative to `root`, and class, of each image.

    Raises:
        UserError: If a class folder is empty.
    """
    found = []
    for folder in sorted(entry for entry in (root / part).iterdir() if entry.is_dir()):
        images = list_images(folder)
        if not images:
            raise UserError(f"class folder '{folder}' holds no images: fill it or remove it")
        prefix = folder.relative_to(root).as_posix()
        found += [(f"{prefix}/{name}", folder.name) for name in images]
    return found


def list_images(folder: Path) -> list[str]:
    """Names of the images of a folder in sorted order.

    Raises:
        UserError: If there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"'{folder}' is missing: unpack the archive anew")
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """Decode one image to uint8 ``[3, size, size]``.

    The shorter side is resized to `size` (bicubic) and the centre is cut out.

    Raises:
        UserError: If it cannot be decoded; it is named.
    """
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise UserError(f"cannot decode the image '{path}': {error}. Mend or remove it.") from error
    scale = size / min(image.size)
    if scale != 1:
        wide, high = (max(size, round(side * scale)) for side in image.size)
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)
