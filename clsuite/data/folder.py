"""Image folders: ``train/CLASS/*`` and ``test/CLASS/*``, or the same below one folder per domain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from clsuite.data.table import ImageTable, digest
from clsuite.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif"}
TEST_NAMES = ("test", "val", "validation")


@dataclass(frozen=True)
class FolderFile:
    """One image file of the tree and what its path says about it."""

    path: Path
    domain: str
    is_test: bool
    label: str


def list_folder(root: Path) -> list[FolderFile]:
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
    files = [file for domain in domains for file in _list_domain(root / domain, domain)]
    if not files:
        raise UserError(f"'{root}' has no class folders in train and test")
    trained = {(file.domain, file.label) for file in files if not file.is_test}
    for file in files:
        if (file.domain, file.label) not in trained:
            raise UserError(f"class '{file.label}' of '{root / file.domain}' has test images but no training images")
    return files


def _list_domain(folder: Path, domain: str) -> list[FolderFile]:
    test = next((folder / name for name in TEST_NAMES if (folder / name).is_dir()), None)
    if test is None:
        raise UserError(f"'{folder}' has a train folder but no test folder ({', '.join(TEST_NAMES)})")
    files = []
    for part, is_test in ((folder / "train", False), (test, True)):
        for class_folder in sorted(entry for entry in part.iterdir() if entry.is_dir()):
            images = sorted(path for path in class_folder.iterdir() if path.suffix.lower() in SUFFIXES)
            if not images:
                raise UserError(f"class folder '{class_folder}' holds no images: fill it or remove it")
            files += [FolderFile(path, domain, is_test, class_folder.name) for path in images]
    return files


def folder_table(
    files: list[FolderFile], image_size: int, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> ImageTable:
    """Decode the files into a table.

    The shorter side is resized to `image_size` (bicubic) and the centre is cut out.

    Args:
        files: What `list_folder` found.
        image_size: Side of the images in pixels.
        images: Where the pixels go: uint8 ``[N, 3, image_size, image_size]`` (a memory map, or an array).

    Raises:
        UserError: If an image cannot be decoded; it is named.
    """
    classes = sorted({file.label for file in files})
    domains = sorted({file.domain for file in files})
    digests = np.empty((len(files), 16), dtype=np.uint8)
    for row, file in enumerate(files):
        digests[row] = digest(file.path.read_bytes())
        images[row] = decode(file.path, image_size)
    return ImageTable(
        images=images,
        labels=np.array([classes.index(file.label) for file in files], dtype=np.int64),
        domains=np.array([domains.index(file.domain) for file in files], dtype=np.int64),
        is_test=np.array([file.is_test for file in files], dtype=np.bool_),
        digests=digests,
        classes=tuple(classes),
        domain_names=tuple(domains),
    )


def decode(path: Path, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Decode one image to uint8 ``[3, size, size]``.

    Raises:
        UserError: If it cannot be decoded.
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
