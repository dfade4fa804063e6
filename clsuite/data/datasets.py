"""The registry of data sets: from a specification to a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clsuite.data.cache import ImageArray, cached_table
from clsuite.data.digits import digits_table
from clsuite.data.folder import folder_table, list_folder
from clsuite.data.sequence import SEQUENCES, load_sequence
from clsuite.data.spec import DatasetSpec
from clsuite.data.stable_random import stable_random
from clsuite.data.table import ImageTable
from clsuite.errors import UserError, did_you_mean

DIGITS_SAMPLES = 1797


@dataclass(frozen=True)
class Dataset:
    """A registered data set: one line for people, and the function that loads it."""

    summary: str
    load: Callable[[DatasetSpec, int, Path | None], ImageTable]


def _load_digits(spec: DatasetSpec, image_size: int, data_root: Path | None) -> ImageTable:
    if spec.path is not None:
        raise UserError("data set 'digits' takes no path: it comes with scikit-learn")

    def build(images: ImageArray) -> ImageTable:
        table = digits_table(image_size)
        images[:] = table.images
        return table

    return cached_table(["digits", 1, image_size], (DIGITS_SAMPLES, 1, image_size, image_size), build)


def _load_folder(spec: DatasetSpec, image_size: int, data_root: Path | None) -> ImageTable:
    if spec.path is None:
        raise UserError("data set 'image_folder' needs a path, for example {name: image_folder, path: caltech101}")
    root = locate(spec.path, data_root)
    files = list_folder(root)
    manifest = [(str(file.path.relative_to(root)), *_stamp(file.path)) for file in files]
    shape = (len(files), 3, image_size, image_size)
    return cached_table(["image_folder", 1, manifest], shape, lambda images: folder_table(files, image_size, images))


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def locate(path: str, data_root: Path | None) -> Path:
    """Find data by absolute path or below the data root.

    Raises:
        UserError: If it is nowhere; says where it was looked for and how to say where it is.
    """
    tried = [Path(path).expanduser()] if data_root is None else [data_root / path, Path(path).expanduser()]
    for candidate in tried:
        if candidate.exists():
            return candidate
    where = " or ".join(f"'{candidate}'" for candidate in tried)
    mend = (
        "Say where your data lies with --data-root FOLDER."
        if data_root is None
        else "Put it there, or mend --data-root."
    )
    raise UserError(f"no data at {where}. {mend}")


DATASETS: dict[str, Dataset] = {
    "digits": Dataset("scikit-learn's handwritten digits: 1,797 images, 10 classes, offline", _load_digits),
    "image_folder": Dataset("any tree train/CLASS/*.png + test/CLASS/*.png, or DOMAIN/train/CLASS/*.png", _load_folder),
}


def load_table(spec: DatasetSpec, image_size: int, data_root: Path | None = None) -> ImageTable:
    """Load a data set as a table.

    Args:
        spec: Which data set.
        image_size: Side of the images in pixels.
        data_root: Folder in which relative paths are looked for.

    Raises:
        UserError: If the data set is unknown, absent or broken.
    """
    if spec.name in SEQUENCES:
        return load_sequence(spec, lambda part: load_table(part, image_size, data_root))
    if spec.parts:
        raise UserError(f"data set '{spec.name}' has no parts: only 'sequence' has")
    if spec.name not in DATASETS:
        raise did_you_mean("data set", spec.name, [*DATASETS, *SEQUENCES])
    return DATASETS[spec.name].load(spec, image_size, data_root)


def training_rows(table: ImageTable, per_class: int | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The training rows, at most `per_class` of each class and domain, chosen by a fixed permutation."""
    rows = np.flatnonzero(~table.is_test)
    if per_class is None:
        return rows
    group = table.labels[rows] * len(table.domain_names) + table.domains[rows]
    order = stable_random(0, "train_per_class").permutation(len(rows))
    rank = np.empty(len(rows), dtype=np.int64)
    counts: dict[int, int] = {}
    for position in order:
        key = int(group[position])
        rank[position] = counts[key] = counts.get(key, 0) + 1
    return rows[rank <= per_class]
