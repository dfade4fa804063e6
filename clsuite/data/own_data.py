"""User-defined data sets: a class whose training and test part are sequences of images with labels."""

from __future__ import annotations

import hashlib
from abc import ABC
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsuite.config.paths import cache_folder
from clsuite.data.cache import kept_table
from clsuite.data.image_convert import square_pixels
from clsuite.data.manifest import choose_rows
from clsuite.data.quality_warnings import duplicates, keep_doubts, tell, tell_of_table, untested_classes
from clsuite.data.table import ImageTable, digest
from clsuite.errors import UserError, shortened


class ImageData(ABC):
    """Base class of a user-defined data set.

    A subclass sets `classes`, `train` and `test`, at the latest in its constructor, which takes the arguments of the
    benchmark: ``dataset: {class: my_package.data:MyData, folder: images}``.

    >>> class Shapes(ImageData):
    ...     classes = ("dark", "light")
    ...     train = [(np.zeros((8, 8), np.uint8), 0), (np.full((8, 8), 255, np.uint8), 1)]
    ...     test = train

    Attributes:
        classes: The names of the classes, in the order of their numbers.
        train: The training part: a sequence (with ``len`` and ``[i]``, such as a torch or torchvision data set) of
            ``(image, label)`` or ``(image, label, domain)``. An image is a PIL image, an array ``[H, W]`` or
            ``[H, W, 3]``, or a tensor ``[C, H, W]``, with uint8 values, or floats in 0..1 that are not normalized. A
            label is the number of a class, a domain its name. Alternatively a pair of arrays: images ``[N, ...]`` and
            labels ``[N]``.
        test: The test part, in the same form.
        version: If it is set, the decoded images are cached and not read again for the same class, arguments and
            version; change it when the data change. Without it each run reads all images again and holds them in
            memory.
    """

    classes: Sequence[str]
    train: Any
    test: Any
    version: ClassVar[str] = ""


class Bounds(NamedTuple):
    """Largest number of images of each class and domain, in the training part and in the test part."""

    train: int | None = None
    test: int | None = None


ALL = Bounds()
OF_ROWS = ("images", "labels", "domains", "is_test", "digests")
"""Columns of a table with one entry per row."""


def own_table(data: ImageData, image_size: int, what: str, identity: Any, bounds: Bounds = ALL) -> ImageTable:
    """The table of a user-defined data set.

    Args:
        data: The data set.
        image_size: Side of the images in pixels.
        what: Name of the data set in messages.
        identity: JSON value of its source and arguments, which together with its version identify the content in the
            cache.
        bounds: Largest number of images of each class.

    Raises:
        UserError: If a part is missing or empty, or contains an invalid image or label; says which.
    """
    version = str(data.version)
    if not version:
        table, doubts = _read(data, image_size, what, bounds)
        tell(what, doubts)
        return table

    def make(building: Path) -> ImageTable:
        table, doubts = _read(data, image_size, what, bounds)
        building.mkdir(parents=True, exist_ok=True)
        np.save(building / "images.npy", table.images)
        np.save(building / "digests.npy", table.digests)
        keep_doubts(building, doubts)
        return table

    kept = kept_table(["own data", 2, identity, version, list(bounds), image_size], make, cache_folder())
    tell_of_table(what, kept)
    return kept


def _read(data: ImageData, image_size: int, what: str, bounds: Bounds) -> tuple[ImageTable, list[str]]:
    """Read both parts into a table, the training part first; also what is doubtful about them."""
    classes = _classes(data, what)
    pixels: list[NDArray[np.uint8]] = []
    labels, domains, tests, digests, contents, places = [], [], [], [], [], []
    for part in ("train", "test"):
        for index, (image, label, domain) in enumerate(_samples(data, part, what)):
            where = f"image {index} of the {part} part of {what}"
            pixels.append(square_pixels(image, image_size, where))
            labels.append(_label(label, len(classes), where))
            domains.append(str(domain))
            tests.append(part == "test")
            digests.append(_digest(part, index, image))
            contents.append(_content(image))
            places.append(f"image {index} of the {part} part")
    names = sorted(set(domains))
    number = {name: index for index, name in enumerate(names)}
    channels = max(image.shape[0] for image in pixels)
    table = ImageTable(
        images=np.stack([np.broadcast_to(image, (channels, *image.shape[1:])) for image in pixels]),
        labels=np.array(labels, dtype=np.int64),
        domains=np.array([number[name] for name in domains], dtype=np.int64),
        is_test=np.array(tests, dtype=np.bool_),
        digests=np.stack(digests),
        classes=classes,
        domain_names=tuple(names),
    )
    rows = _bounded(table, bounds)
    bounded = replace(table, **{name: getattr(table, name)[rows] for name in OF_ROWS})
    hashes = np.array(contents, dtype=np.int64).view(np.uint64)[rows]
    doubled = duplicates(bounded.is_test, hashes, lambda row: places[rows[row]])
    return bounded, [*untested_classes(bounded), *doubled]


def _bounded(table: ImageTable, bounds: Bounds) -> NDArray[np.int64]:
    """The selected rows, chosen in the same way as for any data set."""
    kept = [
        choose_rows(table.labels, table.domains, np.flatnonzero(table.is_test == part), bound, purpose)
        for part, bound, purpose in (
            (False, bounds.train, "train_per_class"),
            (True, bounds.test, "test_per_class"),
        )
    ]
    return np.sort(np.concatenate(kept))


def _classes(data: ImageData, what: str) -> tuple[str, ...]:
    found = getattr(data, "classes", None)
    if isinstance(found, str) or not isinstance(found, Sequence | np.ndarray) or not len(found):
        raise UserError(f"{what} has no 'classes': set it to the names of the classes, in the order of their numbers")
    names = tuple(str(name) for name in found)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{what} has two classes called '{shortened(twice)}': give each its own name")
    return names


def _samples(data: ImageData, part: str, what: str) -> Iterator[tuple[Any, Any, Any]]:
    """Image, label and domain of each sample of a part."""
    samples: Any = getattr(data, part, None)
    if _is_pair(samples):
        images, labels = samples
        if len(images) != len(labels):
            raise UserError(f"the {part} part of {what} has {len(images)} images, but {len(labels)} labels")
        samples = list(zip(images, labels, strict=True))
    if not hasattr(samples, "__getitem__") or not hasattr(samples, "__len__"):
        raise UserError(f"{what} has no '{part}': set it to a sequence of (image, label), or to (images, labels)")
    if not len(samples):
        raise UserError(f"the {part} part of {what} is empty")
    for index in range(len(samples)):
        sample = samples[index]
        if not isinstance(sample, tuple | list) or len(sample) not in (2, 3):
            kind = type(sample).__name__
            raise UserError(f"sample {index} of the {part} part of {what} is a {kind}, but must be (image, label)")
        yield (sample[0], sample[1], sample[2] if len(sample) == 3 else "")


def _is_pair(samples: Any) -> bool:
    """Whether a part is a pair of arrays and not a tuple of two samples."""
    return (
        isinstance(samples, tuple)
        and len(samples) == 2
        and all(hasattr(array, "shape") for array in samples)
        and samples[1].ndim == 1
    )


def _label(label: Any, classes: int, where: str) -> int:
    try:
        number = int(label)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < classes or number != label:
        raise UserError(f"{where} has the label {shortened(str(label))}: it must be a number in 0..{classes - 1}")
    return number


def _digest(part: str, index: int, image: Any) -> NDArray[np.uint8]:
    """The id of a sample: a hash of its part, its position and its original content."""
    content = np.asarray(image)
    known = hashlib.sha256(f"{part} {index} {content.dtype} {content.shape}".encode())
    known.update(np.ascontiguousarray(content).tobytes())
    return digest(known.digest())


def _content(image: Any) -> int:
    """A hash of an image's content alone, which is the same within a process."""
    content = np.asarray(image)
    return hash((content.dtype.str, content.shape, content.tobytes()))
