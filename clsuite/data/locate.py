"""Finding the copies of data sets below the data root."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from clsuite.data.dataset import Dataset
from clsuite.data.file_digests import file_digests
from clsuite.data.folder import is_tree, names_in
from clsuite.data.manifest import Manifest
from clsuite.data.readers.tree import read_tree
from clsuite.data.readers.vision import Vision
from clsuite.errors import AbsentError, UserError, printable


@dataclass(frozen=True)
class DatasetCopy:
    """A copy of a data set.

    Attributes:
        layout: Whether it has the official files, is divided by a list that papers share, is a plain tree, or has
            PILOT's folders.
        root: Its folder.
        parts: The files and subfolders that belong to it.
        read: Lists its samples.
    """

    layout: Literal["official", "shared", "tree", "pilot"]
    root: Path
    parts: tuple[str, ...]
    read: Callable[[], Manifest]

    @property
    def quick(self) -> bool:
        """Whether listing its samples is fast: true unless torchvision reads them."""
        return self.layout == "tree" or not isinstance(getattr(self.read, "func", None), Vision)

    def contents(self, cache: Path) -> list[tuple[str, str]]:
        """Name and digest of every file that belongs to it, in sorted order, without hidden files.

        Args:
            cache: The cache folder, which stores digests.

        Raises:
            UserError: If a file or folder cannot be read; names it.
        """
        names = sorted(name for part in self.parts for name in _files(self.root, part, ()))
        digests = file_digests(self.root, names, cache)
        return [(printable(name), digest.tobytes().hex()) for name, digest in zip(names, digests, strict=True)]


def _files(root: Path, name: str, above: tuple[str, ...]) -> Iterator[str]:
    path = root / name
    if not path.is_dir():
        yield name
        return
    real = os.path.realpath(path)
    if real in above:
        raise UserError(f"'{path}' is a link to a folder that contains it: remove it")
    prefix = "" if name == "." else f"{name}/"
    for entry in names_in(path):
        if not entry.startswith("."):
            yield from _files(root, prefix + entry, (*above, real))


def find_copy(
    name: str, dataset: Dataset, folder: Path | None, data_root: Path | None, pilot: bool = False
) -> DatasetCopy | None:
    """Find a copy of a data set.

    Args:
        name: Its name.
        dataset: The registry's entry.
        folder: Folder in which it must be; None searches the usual places below the data root.
        data_root: The data root; the current folder by default.
        pilot: Whether it must have PILOT's folders.
    """
    root = data_root or Path()
    if pilot:
        return _pilot_folders(name, dataset, folder, root)
    homes = [folder] if folder is not None else [root / home for home in dataset.homes]
    for home in homes:
        if dataset.parts != (".",) and dataset.read is not None and not _missing(home, dataset):
            return _official(home, dataset)
    for tree in [folder] if folder is not None else [*(home for home in homes if home != root), root / name]:
        if dataset.tree and is_tree(tree):
            return DatasetCopy("tree", tree, (".",), partial(read_tree, tree, dataset.naming))
        if dataset.parts == (".",) and dataset.read is not None and tree.is_dir():
            return _official(tree, dataset)
    return None


def divided(division: str | None, dataset: Dataset, copy: DatasetCopy, what: str) -> tuple[DatasetCopy, Dataset]:
    """A copy that is divided in another way, and the registry's entry with the numbers of its images.

    Args:
        division: ``zscl``, or None for the usual way.
        dataset: The registry's entry.
        copy: The copy.
        what: What it is, for the message.

    Raises:
        UserError: If the copy has no official files.
    """
    if division is None or dataset.zscl is None:
        return copy, dataset
    if copy.layout != "official":
        raise UserError(f"{what} has a division of its own: for division '{division}' put there {dataset.place}")
    changed = replace(copy, read=partial(dataset.zscl.read, copy.root))
    return changed, replace(dataset, train=dataset.zscl.train)


def _pilot_folders(name: str, dataset: Dataset, folder: Path | None, root: Path) -> DatasetCopy | None:
    assert dataset.pilot is not None
    homes = [root / home for home in dict.fromkeys((dataset.pilot.home, *dataset.homes, name))]
    for home in [home for home in homes if home != root] if folder is None else [folder]:
        if is_tree(home):
            return DatasetCopy("pilot", home, (".",), partial(read_tree, home, dataset.naming))
    return None


def _official(home: Path, dataset: Dataset) -> DatasetCopy:
    read = dataset.read
    assert read is not None
    return DatasetCopy("shared" if dataset.shared else "official", home, dataset.parts, partial(read, home))


def _missing(home: Path, dataset: Dataset) -> list[str]:
    return [part for part in dataset.parts if not (home / part).exists()]


def missing_reason(name: str, dataset: Dataset, folder: Path | None, data_root: Path | None) -> str:
    """What is missing, in short; empty if there is a copy."""
    if not dataset.homes or find_copy(name, dataset, folder, data_root) is not None:
        return ""
    homes = [folder] if folder is not None else [(data_root or Path()) / home for home in dataset.homes]
    for home in homes:
        missing = _missing(home, dataset)
        if len(missing) < len(dataset.parts):
            return f"'{home}' lacks {', '.join(missing)}"
    return f"missing: {dataset.place}"


def missing_error(
    name: str, dataset: Dataset, folder: Path | None, data_root: Path | None, pilot: bool = False
) -> UserError:
    """The error for missing data: which files to put where, and how else to obtain them."""
    where = f"'{folder}'" if folder is not None else f"'{data_root}'" if data_root is not None else "the data root"
    give = " Give the folder of your data with --data-root FOLDER." if data_root is None and folder is None else ""
    if pilot and dataset.pilot is not None:
        return AbsentError(f"no train and test folders of '{name}' in {where}. Put there {dataset.pilot.place}.{give}")
    reason = missing_reason(name, dataset, folder, data_root)
    found = "" if reason.startswith("missing: ") else f" ({reason})"
    tree = f", or images as {name}/train/CLASS/* and {name}/test/CLASS/*" if dataset.tree else ""
    fetch = f" Or let torchvision fetch it: {{name: {name}, download: true}}." if dataset.source is not None else ""
    return AbsentError(
        f"no copy of '{name}' in {where}{found}. Put there {dataset.place}{tree}.{give}{fetch} Source: {dataset.url}"
    )
