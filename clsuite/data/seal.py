"""The seal of a cached table: hashes of its pixels and columns, which detect any change after it was written.

All hashes are SHA-256: one of the pixels of every 256 rows, one of the columns, and one of all of these, which is the
hash of the table. It is written into the records of runs but is not part of their keys, because decoders of JPEG, WebP
and other formats may differ in the last bit between versions and machines, while a key must not.

The columns are checked whenever a table is opened. The pixels may be hundreds of gigabytes. They are checked once for
each state of their file (inode, size, times of change) and each start of the system, and always while the file is so
new that another change would not alter its times. Writes to the file are therefore always detected, and disk errors
after the next start of the system.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsuite.data.cores import count_cores
from clsuite.data.file_digests import file_state, is_settled
from clsuite.data.manifest import Columns
from clsuite.data.progress import report_progress
from clsuite.data.table import ImageTable
from clsuite.records.canonical import sha256_of

SEALED = 256
"""Number of rows per hash."""
AT_ONCE = 1 << 20
COLUMNS = ("labels", "domains", "is_test")
REMEMBERED = 32
"""Number of states of a table that are stored as correct: the number of machines that may share a cache."""
BOOT = Path("/proc/sys/kernel/random/boot_id")


class DamagedTableError(Exception):
    """A table in the cache that differs from what was written; the message says where."""


def seal_table(folder: Path, columns: Columns) -> None:
    """Write ``columns.npz`` and ``meta.json`` beside the ``images.npy`` and ``digests.npy`` of a folder."""
    np.savez(folder / "columns.npz", **{name: getattr(columns, name) for name in COLUMNS})
    path = folder / "images.npy"
    images = np.load(path, mmap_mode="r")
    chunks = _chunks_of_file(path, images.shape)
    table = _table(folder, images, columns.classes, columns.domain_names)
    meta = {"classes": columns.classes, "domain_names": columns.domain_names, "header": _header(path, images),
            "chunks": chunks, "table": _whole(table, chunks)}  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def open_table(folder: Path, checked: Path | None = None) -> ImageTable:
    """Open a sealed table, memory-mapped.

    Args:
        folder: Folder of the table.
        checked: File that stores the states in which the pixels were found correct; None skips the check, for a table
            that was just written.

    Raises:
        DamagedTableError: If it differs from what was written.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        images = np.load(folder / "images.npy", mmap_mode="r")
        table = _table(folder, images, tuple(meta["classes"]), tuple(meta["domain_names"]))
        if _whole(table, meta["chunks"]) != meta["table"] or _header(folder / "images.npy", images) != meta["header"]:
            raise DamagedTableError("its columns have changed since they were written")
        if checked is not None:
            _check_images(folder / "images.npy", images.shape, meta, checked)
    except (DamagedTableError, MemoryError):
        raise
    except Exception as error:  # readers may raise anything for a truncated or foreign file
        raise DamagedTableError(f"it cannot be read: {type(error).__name__}") from error
    return table


def table_sha256(table: ImageTable) -> str:
    """The hash of a table's pixels, columns and names; the same in memory and in the cache."""
    sealed = _sealed_chunks(table.images)
    if sealed is not None:
        return _whole(table, sealed)
    rows = (table.images[start : start + SEALED] for start in range(0, len(table), SEALED))
    return _whole(table, [hashlib.sha256(np.ascontiguousarray(part).data).hexdigest() for part in rows])


def _sealed_chunks(images: NDArray[np.uint8]) -> list[str] | None:
    """The hashes of a whole memory-mapped table, from its seal; None for any other array."""
    if not isinstance(images, np.memmap) or not images.flags.c_contiguous or images.flags.writeable:
        return None
    path = Path(str(images.filename))
    try:
        meta = json.loads(path.with_name("meta.json").read_text(encoding="utf-8"))
        whole: bool = np.load(path, mmap_mode="r").shape == images.shape
        return list(meta["chunks"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _table(
    folder: Path, images: NDArray[np.uint8], classes: tuple[str, ...], domain_names: tuple[str, ...]
) -> ImageTable:
    with np.load(folder / "columns.npz") as opened:
        columns = {name: opened[name] for name in COLUMNS}
    digests = np.load(folder / "digests.npy")
    return ImageTable(images=images, digests=digests, classes=classes, domain_names=domain_names, **columns)


def _whole(table: ImageTable, chunks: list[str]) -> str:
    columns = hashlib.sha256()
    for column in (table.labels.astype("<i8"), table.domains.astype("<i8"), table.is_test, table.digests):
        columns.update(f"{column.shape} {column.dtype.str}".encode())
        columns.update(np.ascontiguousarray(column).tobytes())
    shape = [*table.images.shape, table.images.dtype.str]
    return sha256_of([shape, chunks, columns.hexdigest(), table.classes, table.domain_names])


def _header(path: Path, images: NDArray[np.uint8]) -> str:
    """Hash of the header that precedes the pixels."""
    with path.open("rb") as opened:
        return hashlib.sha256(opened.read(path.stat().st_size - images.nbytes)).hexdigest()


def _check_images(path: Path, shape: tuple[int, ...], meta: dict[str, Any], checked: Path) -> None:
    status = path.stat()
    boot = BOOT.read_text(encoding="utf-8") if BOOT.is_file() else ""
    state = sha256_of([*file_state(status)[1:], boot, meta["table"]])  # without the device, which NFS may renumber
    known = checked.read_text(encoding="utf-8", errors="replace").split() if checked.is_file() else []
    settled = is_settled(status)
    if settled and state in known:
        return
    for chunk, (found, written) in enumerate(zip(_chunks_of_file(path, shape), meta["chunks"], strict=True)):
        if found != written:
            first, last = chunk * SEALED, min((chunk + 1) * SEALED, shape[0]) - 1
            raise DamagedTableError(f"its images {first} to {last} have changed since they were written")
    if settled and file_state(path.stat()) == file_state(status):
        _remember(checked, [*known, state][-REMEMBERED:])


def _remember(checked: Path, states: list[str]) -> None:
    """Store states; if the cache folder cannot be written, the next call checks again."""
    temporary = checked.with_name(f"{checked.name}.{os.getpid()}")
    with suppress(OSError):
        checked.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text("\n".join(states), encoding="utf-8")
        os.replace(temporary, checked)


def _chunks_of_file(path: Path, shape: tuple[int, ...]) -> list[str]:
    """The hash of each chunk, read in threads, without the memory map, whose pages would stay in memory."""
    count, row = shape[0], int(np.prod(shape[1:], dtype=np.int64))
    start = path.stat().st_size - count * row
    chunks = []
    with path.open("rb") as opened, ThreadPoolExecutor(count_cores()) as threads:

        def hashed(first: int) -> str:
            return _hash(opened.fileno(), start + first * row, (min(first + SEALED, count) - first) * row)

        for found in threads.map(hashed, range(0, count, SEALED)):
            chunks.append(found)
            report_progress("checking the table", min(len(chunks) * SEALED, count), count)
    return chunks


def _hash(handle: int, offset: int, length: int) -> str:
    hashed = hashlib.sha256()
    while length and (piece := os.pread(handle, min(AT_ONCE, length), offset)):
        hashed.update(piece)
        offset, length = offset + len(piece), length - len(piece)
    return hashed.hexdigest()
