"""Cached tables of decoded images: memory-mapped, keyed by content and image size, protected by checksums."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from clsuite.config.paths import cache_folder
from clsuite.data.decoding import DecoderKilledError, Job, decode_all
from clsuite.data.file_digests import with_digests
from clsuite.data.manifest import Columns, Manifest, Pixels
from clsuite.data.quality_warnings import doubts_of, keep_doubts
from clsuite.data.seal import DamagedTableError, open_table, seal_table
from clsuite.data.space import NO_ROOM, flush_file, flush_to_disk, size_text
from clsuite.data.table import ImageTable
from clsuite.errors import UserError, warn_of
from clsuite.records.canonical import sha256_of

FORMAT = 3
"""Version of tables and of decoding; increase it when an image decodes to other pixels than before."""
PER_IMAGE, PER_TABLE = 64, 2**16
"""Largest size in bytes of what a table holds beside its pixels: for each image (hash, label, name), and once."""
NOTED_S = 3600.0
"""Seconds after which a further use is noted."""
WORK = ("job.json", "marks.npy", "pixels.npy")
"""Files that only decoding needs; a finished table does not have them."""


def cached_table(
    content: Any,
    image_size: int,
    read: Callable[[], Manifest],
    *,
    folder: Path | None = None,
    workers: int | None = None,
    squash: bool = False,
) -> ImageTable:
    """Open the table of some content; if there is none, it is decoded first.

    It is decoded in a temporary folder, which is renamed when everything is done: a killed process leaves nothing that
    counts as a table, and the next call continues where it stopped. If two processes want the same table, one of them
    waits. A damaged table is rebuilt with a warning.

    Args:
        content: JSON value that identifies the content: a hash of it, or a version.
        image_size: Side of the images in pixels.
        read: Lists the samples; only called if the table is not there.
        folder: Cache folder; `cache_folder` by default.
        workers: Number of decoding processes; one per core by default. The result does not depend on it.
        squash: Whether image files are resized to a square instead of being cut to one.

    Raises:
        UserError: If the cache folder cannot be written or has no room, or the data are invalid.
    """
    root = folder or cache_folder()

    def make(building: Path) -> Manifest:
        manifest = with_digests(read(), root)
        free = shutil.disk_usage(building.parent).free
        if not building.is_dir() and _needed(manifest, image_size) > free:
            raise _no_room(building.parent, manifest, image_size, free, os.strerror(errno.ENOSPC))
        try:
            decode_all(Job.prepare(building, manifest, image_size, squash), workers)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise _no_room(building.parent, manifest, image_size, free, error.strerror or "") from error
        keep_doubts(building, doubts_of(manifest))
        return manifest

    return kept_table([content, image_size, *(["squash"] if squash else [])], make, root)


def kept_table(content: Any, make: Callable[[Path], Columns], root: Path) -> ImageTable:
    """Open a table of the cache, or create it.

    Args:
        content: JSON value that identifies it.
        make: Writes ``images.npy`` and ``digests.npy`` to the folder that is its argument, and returns the columns.
        root: Cache folder.

    Raises:
        UserError: If the cache folder cannot be written or has no room; also whatever `make` raises.
    """
    key = sha256_of({"format": FORMAT, "content": content})[:32]
    target, checked = root / "tables" / key, root / "checked" / key
    try:
        if target.is_dir():
            table = open_table(target, checked)
            note_use(target)
            return table
    except DamagedTableError:
        pass  # reported below, if it is still so when no other process is fixing it
    try:
        for name in ("tables", "locks"):
            (root / name).mkdir(parents=True, exist_ok=True)
        with FileLock(root / "locks" / f"{key}.lock"):
            return _open_or_make(target, checked, make)
    except OSError as error:
        raise UserError(
            f"cannot write the table cache '{root / 'tables'}': {error.strerror or error}. Set CLSUITE_CACHE to "
            "another folder, or make room."
        ) from error


def note_use(path: Path) -> None:
    """Note when a table or a block of features was last used, to the hour, if the cache folder can be written."""
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > NOTED_S:
            os.utime(path)


def _open_or_make(target: Path, checked: Path, make: Callable[[Path], Columns]) -> ImageTable:
    try:
        if target.is_dir():  # else another process has made it while we waited
            return open_table(target, checked)
    except DamagedTableError as error:
        warn_of(f"the table '{target}' in the cache is damaged ({error}): it is made again")
        shutil.rmtree(target)
    _build(target, make)
    return open_table(target)


def _build(target: Path, make: Callable[[Path], Columns]) -> None:
    building = target.with_name(f".building-{target.name}")
    try:
        seal_table(building, make(building))
        for name in WORK:
            (building / name).unlink(missing_ok=True)
        flush_to_disk(building)
    except DecoderKilledError:
        raise
    except (UserError, OSError):
        shutil.rmtree(building, ignore_errors=True)
        raise
    os.replace(building, target)
    flush_file(target.parent)


def _needed(manifest: Manifest, image_size: int) -> int:
    """Bytes of a table on disk."""
    gray = isinstance(manifest.source, Pixels) and manifest.source.images.ndim == 3
    return len(manifest) * ((1 if gray else 3) * image_size**2 + PER_IMAGE) + PER_TABLE


def _no_room(folder: Path, manifest: Manifest, image_size: int, free: int, reason: str) -> UserError:
    return UserError(
        f"{len(manifest)} images of {image_size} px take {size_text(_needed(manifest, image_size))} in the table cache "
        f"'{folder}', where {size_text(free)} are free ({reason}): set CLSUITE_CACHE to another folder, make room, or "
        "bound train_per_class"
    )
