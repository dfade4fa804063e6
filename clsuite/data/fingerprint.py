"""Fingerprints of data sets: which data a copy holds, and whether they have changed.

There are no published fingerprints of the decoded samples of common data sets, and most data sets exist in several
forms (the official archive, or a tree made from it). Three things are therefore checked: the official checksums of the
files, if there are any; the official numbers of images and classes; and the fingerprint of all samples, which must be
that of the first load, or the one that the benchmark or the registry states.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.records import atomic_path


def table_fingerprint(table: ImageTable) -> str:
    """Hash of all samples with class, domain and part; independent of the order of rows and of the image size."""
    rows = np.empty((len(table), 16 + 8 + 8 + 1), dtype=np.uint8)
    rows[:, :16] = table.digests
    rows[:, 16:24] = table.labels.astype("<i8")[:, None].view(np.uint8)
    rows[:, 24:32] = table.domains.astype("<i8")[:, None].view(np.uint8)
    rows[:, 32] = table.is_test
    ordered = np.sort(np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").ravel())
    hashed = hashlib.sha256(json.dumps([table.classes, table.domain_names]).encode())
    hashed.update(ordered.tobytes())
    return hashed.hexdigest()[:32]


def check_stated(what: str, stated: str, found: str, where: str) -> None:
    """Check that a data set has the stated fingerprint.

    Raises:
        UserError: If it has another; names both.
    """
    if found != stated:
        raise UserError(
            f"{what} has the fingerprint {found}, but {where} states {stated}: this is another version of the data"
        )


def check_remembered(what: str, name: str, found: str, cache: Path) -> None:
    """Check that a data set has the fingerprint of its first load, which is stored then.

    Args:
        what: The data set, for the error message.
        name: File name, made of the data set's name, its layout and its limits.
        found: Its fingerprint.
        cache: The cache folder.

    Raises:
        UserError: If it has another; names both and says how to accept the new one.
    """
    path = cache / "fingerprints" / name
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(found + "\n", encoding="utf-8")
    remembered = path.read_text(encoding="utf-8").strip()
    if found != remembered:
        raise UserError(
            f"{what} has the fingerprint {found}, but had {remembered} when it was first loaded: the copy is different "
            f"or has changed, or another version of clsuite read it in another way. To accept it, delete '{path}'"
        )
