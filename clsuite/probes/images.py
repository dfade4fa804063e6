"""The images of a probe: a folder of class folders, decoded once and cached."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clsuite.config.paths import cache_folder
from clsuite.data.cache import cached_table
from clsuite.data.datasets import locate
from clsuite.data.file_digests import with_digests
from clsuite.data.folder import folders_in, list_images
from clsuite.data.manifest import Files, Manifest
from clsuite.data.naming import text_lines
from clsuite.data.table import ImageTable
from clsuite.errors import UserError

CLASSES_FILE = "classes.txt"


def load_probe_images(path: str, image_size: int, data_root: Path | None) -> ImageTable:
    """Load ``CLASS/*`` as a table of test images.

    The classes are in the order of ``classes.txt`` (the first word of each line) if there is one, otherwise sorted.

    Raises:
        UserError: If the folder is missing or empty, or an image cannot be decoded.
    """
    root = locate(path, data_root)
    classes = _class_folders(root)
    names = [f"{label}/{name}" for label in classes for name in list_images(root / label)]
    if not names:
        raise UserError(f"the probe set '{root}' holds no images: expected CLASS/*.png")
    listing = with_digests(_listing(root, names, classes), cache_folder())
    return cached_table(["probe", listing.identity], image_size, lambda: listing)


def _class_folders(root: Path) -> list[str]:
    found = folders_in(root) if root.is_dir() else []
    if not (root / CLASSES_FILE).is_file():
        return found
    stated = [line.split()[0] for line in text_lines(root / CLASSES_FILE) if line.strip()]
    missing = sorted(set(stated) - set(found))
    if missing:
        raise UserError(f"'{root / CLASSES_FILE}' names the class '{missing[0]}', but there is no such folder")
    return stated


def _listing(root: Path, names: list[str], classes: list[str]) -> Manifest:
    number = {label: index for index, label in enumerate(classes)}
    labels = np.array([number[name.partition("/")[0]] for name in names], dtype=np.int64)
    return Manifest(
        source=Files(root, tuple(names)),
        labels=labels,
        domains=np.zeros_like(labels),
        is_test=np.ones(len(labels), dtype=np.bool_),
        classes=tuple(classes),
    )
