"""Decoded tables on disk, memory-mapped, keyed by content and image size."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.records.canonical import sha256_of

FORMAT = 1
COLUMNS = ("labels", "domains", "is_test", "digests")
ImageArray = NDArray[np.uint8]


def cache_folder() -> Path:
    """Where decoded tables are kept: ``$CLSUITE_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("CLSUITE_CACHE")
    return Path(chosen) if chosen else user_cache_path("clsuite")


def cached_table(
    content: Any, shape: tuple[int, ...], build: Callable[[ImageArray], ImageTable], folder: Path | None = None
) -> ImageTable:
    """Open the table of this content, building it once if it is not there.

    The table is built in a temporary folder and renamed, so that a killed build leaves nothing behind that counts, and
    two processes that build the same table do no harm.

    Args:
        content: JSON value that identifies the content (file names, sizes and times, or a version) and the image size.
        shape: Shape of the image array, ``(N, C, H, W)``.
        build: Fills the given memory map and returns the table.
        folder: Cache folder; `cache_folder` by default.

    Raises:
        UserError: If the cache folder cannot be written, or the build finds bad input.
    """
    root = (folder or cache_folder()) / "tables"
    target = root / sha256_of({"format": FORMAT, "content": content, "shape": shape})[:32]
    if not (target / "meta.json").is_file():
        _build(target, shape, build)
    return _open(target)


def _build(target: Path, shape: tuple[int, ...], build: Callable[[ImageArray], ImageTable]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".building-"))
    except OSError as error:
        raise UserError(
            f"cannot write the table cache '{target.parent}': {error.strerror}. Set CLSUITE_CACHE to another folder."
        ) from error
    try:
        images = np.lib.format.open_memmap(temporary / "images.npy", "w+", np.uint8, shape)
        table = build(images)
        images.flush()
        np.savez(temporary / "columns.npz", **{name: getattr(table, name) for name in COLUMNS})
        names = {"classes": table.classes, "domain_names": table.domain_names}
        (temporary / "meta.json").write_text(json.dumps(names), encoding="utf-8")
        _take_name(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_name(temporary: Path, target: Path) -> None:
    try:
        os.replace(temporary, target)
    except OSError:
        if not (target / "meta.json").is_file():  # else another process has just built the same table
            raise


def _open(folder: Path) -> ImageTable:
    names = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    with np.load(folder / "columns.npz") as opened:
        columns = {name: opened[name] for name in COLUMNS}
    return ImageTable(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        classes=tuple(names["classes"]),
        domain_names=tuple(names["domain_names"]),
        **columns,
    )
