"""Decoded tables on disk, memory-mapped, keyed by content and image size."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from platformdirs import user_cache_path

from clsuite.data.decoding import DecoderKilledError, Job, decode_all
from clsuite.data.listing import Listing, Pixels
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.records.canonical import sha256_of

FORMAT = 2
COLUMNS = ("labels", "domains", "is_test")
ImageArray = NDArray[np.uint8]


def cache_folder() -> Path:
    """Where decoded tables are kept: ``$CLSUITE_CACHE``, or the user's cache folder."""
    chosen = os.environ.get("CLSUITE_CACHE")
    return Path(chosen) if chosen else user_cache_path("clsuite")


def cached_table(
    content: Any,
    image_size: int,
    read: Callable[[], Listing],
    *,
    folder: Path | None = None,
    workers: int | None = None,
) -> ImageTable:
    """Open the table of this content, decoding it once if it is not there.

    It is decoded in a folder of its own, which is renamed when all is done: a killed decoding leaves nothing behind
    that counts, and the next call goes on where it stopped. Of two processes that want the same table, one waits.

    Args:
        content: JSON value that identifies the content: file names, sizes and times, or a version.
        image_size: Side of the images in pixels.
        read: Lists the samples; only called if the table is not there.
        folder: Cache folder; `cache_folder` by default.
        workers: Processes that decode; one per core by default. They change nothing in the result.

    Raises:
        UserError: If the cache folder cannot be written or is too small, or the data are bad.
    """
    root = folder or cache_folder()
    key = sha256_of({"format": FORMAT, "content": content, "size": image_size})[:32]
    target = root / "tables" / key
    if not (target / "meta.json").is_file():
        _make_folders(root)
        with FileLock(root / "locks" / f"{key}.lock"):
            if not (target / "meta.json").is_file():  # else another process has built it while we waited
                _build(target, read(), image_size, workers)
    return _open(target)


def _make_folders(root: Path) -> None:
    try:
        for name in ("tables", "locks"):
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write the table cache '{root / 'tables'}': {error.strerror}. Set CLSUITE_CACHE to another folder."
        ) from error


def _build(target: Path, listing: Listing, image_size: int, workers: int | None) -> None:
    building = target.with_name(f".building-{target.name}")
    if not building.is_dir():
        _check_space(target.parent, listing, image_size)
    try:
        decode_all(Job.prepare(building, listing, image_size), workers)
    except DecoderKilledError:
        raise
    except UserError:
        shutil.rmtree(building, ignore_errors=True)
        raise
    np.savez(building / "columns.npz", **{name: getattr(listing, name) for name in COLUMNS})
    names = {"classes": listing.classes, "domain_names": listing.domain_names}
    (building / "meta.json").write_text(json.dumps(names), encoding="utf-8")
    for name in ("job.json", "marks.npy", "pixels.npy"):
        (building / name).unlink(missing_ok=True)
    os.replace(building, target)


def _check_space(folder: Path, listing: Listing, image_size: int) -> None:
    grey = isinstance(listing.source, Pixels) and listing.source.images.ndim == 3
    needed = len(listing) * (1 if grey else 3) * image_size**2
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{len(listing)} images of {image_size} px take {needed / 1e9:.1f} GB in the table cache '{folder}', but "
            f"{free / 1e9:.1f} GB are free: set CLSUITE_CACHE to another folder, or bound train_per_class"
        )


def _open(folder: Path) -> ImageTable:
    names = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    with np.load(folder / "columns.npz") as opened:
        columns = {name: opened[name] for name in COLUMNS}
    return ImageTable(
        images=np.load(folder / "images.npy", mmap_mode="r"),
        digests=np.load(folder / "digests.npy"),
        classes=tuple(names["classes"]),
        domain_names=tuple(names["domain_names"]),
        **columns,
    )
