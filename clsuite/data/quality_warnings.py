"""Warnings on doubtful data: classes without test images, and images that are in both parts.

What is doubtful about a table is found when it is made, where the names of its files are known, and kept beside it in
the cache: it is told whenever the table is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clsuite.data.manifest import Columns, Files, Manifest
from clsuite.data.table import ImageTable
from clsuite.errors import warn_of

DOUBTS = "doubts.json"
"""File of a table in the cache with what is doubtful about it."""


def tell(what: str, doubts: list[str]) -> None:
    """Warn of all that is doubtful about a data set; equal lines are shown once in a process."""
    for doubt in doubts:
        warn_of(f"{what} {doubt}")


def tell_of_table(what: str, table: ImageTable) -> None:
    """Warn of what is doubtful about a table, which was just made or was in the cache."""
    tell(what, kept_doubts(table))


def doubts_of(manifest: Manifest) -> list[str]:
    """What is doubtful about a data set, as ends of sentences that begin with its name.

    Images in memory are not compared with each other: their digests depend on their position.
    """
    source = manifest.source
    if not isinstance(source, Files):
        return untested_classes(manifest)
    names = source.names
    doubled = duplicates(manifest.is_test, _comparable(manifest.digests), lambda row: f"'{names[row]}'")
    return [*untested_classes(manifest), *doubled]


def keep_doubts(folder: Path, doubts: list[str]) -> None:
    """Store what is doubtful about a table in its folder."""
    (folder / DOUBTS).write_text(json.dumps(doubts), encoding="utf-8")


def kept_doubts(table: ImageTable) -> list[str]:
    """What is stored beside a table; for tables of earlier versions, what its columns and digests say."""
    try:
        path = Path(str(table.images.filename))  # type: ignore[attr-defined]
        return [str(doubt) for doubt in json.loads(path.with_name(DOUBTS).read_text(encoding="utf-8"))]
    except (AttributeError, OSError, TypeError, ValueError):
        doubled = duplicates(table.is_test, _comparable(table.digests), lambda row: f"row {row}")
        return [*untested_classes(table), *doubled]


def untested_classes(columns: Columns) -> list[str]:
    """Tell of classes with training images but no test images, which no accuracy covers.

    With domains, each domain that has test images is checked separately; some data sets (CORe50) have domains that are
    only for training.
    """
    domains = len(columns.domain_names)
    groups = columns.labels * domains + columns.domains
    untested = np.setdiff1d(groups[~columns.is_test], groups[columns.is_test])
    untested = untested[np.isin(untested % domains, columns.domains[columns.is_test])]
    if not len(untested):
        return []
    names = [
        f"'{columns.classes[group // domains]}'"
        + (f" of domain '{columns.domain_names[group % domains]}'" if domains > 1 else "")
        for group in untested[:3].tolist()
    ]
    more = f" and {len(untested) - 3} more" if len(untested) > 3 else ""
    classes = "class" if len(untested) == 1 else "classes"
    return [f"has no test images of {classes} {', '.join(names)}{more}: learned, but never tested"]


def duplicates(is_test: NDArray[np.bool_], hashes: NDArray[np.uint64], name: Callable[[int], str]) -> list[str]:
    """Tell of test images that are byte for byte in the training part too.

    Args:
        is_test: bool ``[N]``.
        hashes: ``[N]``, a hash of the content of each image; among a million images, two of 64 bits collide in one of
            10^7 data sets.
        name: What an image is called, by its row.
    """
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    doubled = test[np.isin(hashes[test], hashes[train])]
    if not len(doubled):
        return []
    first = train[np.argmax(hashes[train] == hashes[doubled[0]])]
    number = "1 test image" if len(doubled) == 1 else f"{len(doubled)} test images"
    return [
        f"has {number} in the training part too, for example {name(int(doubled[0]))} and {name(int(first))}: the "
        "accuracy on them is that on training images"
    ]


def _comparable(digests: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first half of each digest as a number."""
    return np.ascontiguousarray(digests[:, :8]).view("<u8").ravel()
