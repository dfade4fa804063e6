"""Warnings on doubtful data: classes without test images, and images that are in both parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clsuite.data.manifest import Columns, Files, Manifest
from clsuite.errors import warn_of


def warn_of_untested_classes(columns: Columns, what: str) -> None:
    """Warn of classes with training images but no test images, which no accuracy covers.

    With domains, each domain that has test images is checked separately; some data sets (CORe50) have domains that are
    only for training.
    """
    domains = len(columns.domain_names)
    groups = columns.labels * domains + columns.domains
    untested = np.setdiff1d(groups[~columns.is_test], groups[columns.is_test])
    untested = untested[np.isin(untested % domains, columns.domains[columns.is_test])]
    if not len(untested):
        return
    names = [
        f"'{columns.classes[group // domains]}'"
        + (f" of domain '{columns.domain_names[group % domains]}'" if domains > 1 else "")
        for group in untested[:3].tolist()
    ]
    more = f" and {len(untested) - 3} more" if len(untested) > 3 else ""
    classes = "class" if len(untested) == 1 else "classes"
    warn_of(f"{what} has no test images of {classes} {', '.join(names)}{more}: learned, but never tested")


def warn_of_duplicates(manifest: Manifest, what: str) -> None:
    """Warn of test images that are byte for byte in the training part too."""
    if not isinstance(manifest.source, Files):
        return
    train, test = np.flatnonzero(~manifest.is_test), np.flatnonzero(manifest.is_test)
    hashes = _comparable(manifest.digests)
    doubled = test[np.isin(hashes[test], hashes[train])]
    if len(doubled):
        names = manifest.source.names
        first = train[np.argmax(hashes[train] == hashes[doubled[0]])]
        number = "1 test image" if len(doubled) == 1 else f"{len(doubled)} test images"
        warn_of(
            f"{what} has {number} in the training part too, for example '{names[doubled[0]]}' and '{names[first]}': "
            "the accuracy on them is that on training images"
        )


def _comparable(digests: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first half of each digest as a number; among a million files, two collide in one of 10^7 data sets."""
    return np.ascontiguousarray(digests[:, :8]).view("<u8").ravel()
