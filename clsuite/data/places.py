"""Where the copies of data sets lie below the data root."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from clsuite.data.dataset import Dataset
from clsuite.data.folder import is_tree
from clsuite.data.listing import Listing
from clsuite.data.readers.tree import read_tree
from clsuite.errors import AbsentError, UserError


@dataclass(frozen=True)
class Copy:
    """A copy of a data set.

    Attributes:
        layout: As published, or as a plain tree.
        root: Its folder.
        parts: What of the folder belongs to it.
        read: Lists its samples.
    """

    layout: Literal["official", "tree"]
    root: Path
    parts: tuple[str, ...]
    read: Callable[[], Listing]

    def stamps(self) -> list[tuple[str, int, int]]:
        """Name, size and time of change (ns) of every file, in sorted order."""
        return sorted(stamp for part in self.parts for stamp in _stamps(str(self.root), part))


def _stamps(folder: str, name: str) -> Iterator[tuple[str, int, int]]:
    path = os.path.join(folder, name)
    if not os.path.isdir(path):
        status = os.stat(path)
        yield name, status.st_size, status.st_mtime_ns
        return
    prefix = "" if name == "." else f"{name}/"
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _stamps(folder, prefix + entry.name)
            else:
                status = entry.stat()
                yield prefix + entry.name, status.st_size, status.st_mtime_ns


def find_copy(name: str, dataset: Dataset, folder: Path | None, data_root: Path | None) -> Copy | None:
    """Find a copy of a data set.

    Args:
        name: Its name.
        dataset: What is known about it.
        folder: Where it must be; None looks in the usual places below the data root.
        data_root: The data root; the current folder by default.
    """
    root = data_root or Path()
    homes = [folder] if folder is not None else [root / home for home in dataset.homes]
    for home in homes:
        if dataset.parts != (".",) and dataset.read is not None and not _missing(home, dataset):
            return _official(home, dataset)
    for tree in [folder] if folder is not None else [*(home for home in homes if home != root), root / name]:
        if dataset.tree and is_tree(tree):
            return Copy("tree", tree, (".",), partial(read_tree, tree, dataset.naming))
        if dataset.parts == (".",) and dataset.read is not None and tree.is_dir():
            return _official(tree, dataset)
    return None


def _official(home: Path, dataset: Dataset) -> Copy:
    read = dataset.read
    assert read is not None
    return Copy("official", home, dataset.parts, partial(read, home))


def _missing(home: Path, dataset: Dataset) -> list[str]:
    return [part for part in dataset.parts if not (home / part).exists()]


def absence(name: str, dataset: Dataset, folder: Path | None, data_root: Path | None) -> str:
    """What is missing, in a few words; empty where there is a copy."""
    if not dataset.homes or find_copy(name, dataset, folder, data_root) is not None:
        return ""
    homes = [folder] if folder is not None else [(data_root or Path()) / home for home in dataset.homes]
    for home in homes:
        missing = _missing(home, dataset)
        if len(missing) < len(dataset.parts):
            return f"'{home}' lacks {', '.join(missing)}"
    return f"missing: {dataset.place}"


def how_to_place(name: str, dataset: Dataset, folder: Path | None, data_root: Path | None) -> UserError:
    """The error for absent data: what to put where, and how else to come by it."""
    where = f"'{folder}'" if folder is not None else f"'{data_root}'" if data_root is not None else "the data root"
    reason = absence(name, dataset, folder, data_root)
    found = "" if reason.startswith("missing: ") else f" ({reason})"
    tree = f", or images as {name}/train/CLASS/* and {name}/test/CLASS/*" if dataset.tree else ""
    mend = " Say where your data lies with --data-root FOLDER." if data_root is None and folder is None else ""
    fetch = f" Or let torchvision fetch it: {{name: {name}, download: true}}." if dataset.source is not None else ""
    return AbsentError(
        f"no copy of '{name}' in {where}{found}. Put there {dataset.place}{tree}.{mend}{fetch} Source: {dataset.url}"
    )
