"""Fingerprints of data sets: what a copy holds, and whether it is what it was before.

Nobody publishes a fingerprint of the decoded samples of the usual data sets, and most of them can be had in several
forms (the official archive, or a tree made from it). So three things are checked: the official checksums of the files,
where there are some, the official numbers of images and classes, and the fingerprint of all samples against the one
that was written down when the data set was first loaded, or that the benchmark or the registry states.
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
    """Hash of all samples with class, domain and part; neither the order of the rows nor the image size changes it."""
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
    """See that a data set has the fingerprint that someone states.

    Raises:
        UserError: If it has another; names both.
    """
    if found != stated:
        raise UserError(
            f"{what} has the fingerprint {found}, but {where} states {stated}: this is another version of the data"
        )


def check_remembered(what: str, name: str, found: str, cache: Path) -> None:
    """See that a data set has the fingerprint that it had when it was first loaded; the first load writes it down.

    Args:
        what: The data set, for the complaint.
        name: Name of the data set, its layout and its limits.
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
            f"{what} has the fingerprint {found}, but had {remembered} when it was first loaded: the copy is another "
            f"one, or has changed. If that is meant, delete '{path}' or load it as image_folder."
        )
