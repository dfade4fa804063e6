"""Images with class names, from a folder ``CLASS/*``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clsuite.backbones.templates import readable
from clsuite.data.decode import decode
from clsuite.data.folder import folders_in, list_images
from clsuite.data.naming import text_lines
from clsuite.data.stable_random import stable_random
from clsuite.errors import UserError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class NamedImages:
    """Images and the names of their classes.

    Attributes:
        images: uint8 ``[N, 3, S, S]``.
        labels: int64 ``[N]``.
        names: Names of each class, the most common first.
        folders: Name of the folder of each class.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[tuple[str, ...], ...]
    folders: tuple[str, ...]

    @property
    def first_names(self) -> list[str]:
        """The most common name of each class."""
        return [names[0] for names in self.names]


@dataclass(frozen=True)
class HeldOut:
    """A split of rows and classes.

    Attributes:
        train: Rows of the trained classes that are used for training.
        test: Rows of the trained classes that are held out.
        unseen: All rows of the held-out classes.
        classes: Classes that are trained on.
        unseen_classes: Classes that are held out.
    """

    train: Rows
    test: Rows
    unseen: Rows
    classes: Rows
    unseen_classes: Rows


def read_named_images(folder: Path, names_file: str | None, size: int, report: Callable[[str], None]) -> NamedImages:
    """Decode a folder of class folders.

    Args:
        folder: Folder with a subfolder of images for each class.
        names_file: File in it with lines ``CLASS<TAB>name, other name, ...``; None uses the names of the folders.
        size: Side of the images in pixels.
        report: Called with a line of progress.

    Raises:
        UserError: If there are no classes, a class has no name, or an image cannot be decoded.
    """
    classes = [folder / name for name in folders_in(folder)] if folder.is_dir() else []
    if not classes:
        raise UserError(f"'{folder}' has no class folders inside")
    known = _read_names(folder / names_file) if names_file else {path.name: (readable(path.name),) for path in classes}
    for path in classes:
        if path.name not in known:
            raise UserError(f"class '{path.name}' of '{folder}' has no name in '{names_file}'")
    found = [(label, file) for label, path in enumerate(classes) for file in _images(path)]
    report(f"decoding {len(found)} images of {len(classes)} classes from {folder.name}")
    images = np.stack([decode(file, size) for _, file in found])
    labels = np.array([label for label, _ in found], dtype=np.int64)
    folders = tuple(path.name for path in classes)
    return NamedImages(images, labels, tuple(known[name] for name in folders), folders)


def hold_out(labels: NDArray[np.int64], images: int, classes: int, seed: int) -> HeldOut:
    """Split the rows: hold out some classes completely, and some images of all others.

    Args:
        labels: Class of each row.
        images: Number of held-out images of each class.
        classes: Number of held-out classes.
        seed: Seed of the selection.

    Raises:
        UserError: If nothing would be left for training.
    """
    number = int(labels.max()) + 1
    if classes > number - 2:
        raise UserError(f"held_out_classes is {classes}, but there are only {number} classes, and two must be left")
    order = stable_random(seed, "held-out classes").permutation(number)
    unseen_classes, seen = np.sort(order[:classes]), np.sort(order[classes:])
    test = []
    for label in seen:
        rows = np.flatnonzero(labels == label)
        if len(rows) <= images:
            raise UserError(f"held_out_images is {images}, but a class has only {len(rows)} images")
        test.append(stable_random(seed, "held-out images", int(label)).permutation(rows)[:images])
    held = np.sort(np.concatenate(test))
    unseen = np.flatnonzero(np.isin(labels, unseen_classes))
    train = np.setdiff1d(np.arange(len(labels)), np.concatenate([held, unseen]))
    return HeldOut(train, held, unseen, seen, unseen_classes)


def _images(folder: Path) -> list[Path]:
    files = [folder / name for name in list_images(folder)]
    if not files:
        raise UserError(f"class folder '{folder}' holds no images: fill it or remove it")
    return files


def _read_names(path: Path) -> dict[str, tuple[str, ...]]:
    pairs = [line.split("\t", 1) for line in text_lines(path) if "\t" in line]
    return {name: tuple(readable(part) for part in words.split(",") if part.strip()) for name, words in pairs}
