"""Digests of files: each file is read once, and again only if it may have changed.

The cache folder stores digests by device, inode, size, modification time and change time of the file. The change time
of the inode cannot be set by users. A copy that kept the names, sizes and times of its original (``cp -p``, rsync, tar)
is therefore read, and so is a file that was edited and given back its modification time. The digest of a file that
changed within the last seconds is not stored, because another change right after would have the same times (git calls
this "racily clean").
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clsuite.data.cores import count_cores
from clsuite.data.folder import is_image
from clsuite.data.manifest import Files, Manifest
from clsuite.data.progress import report_progress
from clsuite.errors import UserError
from clsuite.regular_files import REFUSED, is_regular, open_regular

SETTLED_NS = 2_000_000_000
"""A digest is stored only if its file was unchanged for this long; file systems have steps of up to two seconds."""
AT_ONCE = 1 << 20
STATE_BYTES, DIGEST_BYTES = 5 * 8, 16


class _Read(NamedTuple):
    """A digest, and the state of its file; None if the file may change without a change of its state."""

    digest: bytes
    state: bytes | None


def with_digests(manifest: Manifest, cache: Path | None = None) -> Manifest:
    """A manifest with the digests of its files, see `file_digests`."""
    source = manifest.source
    if not isinstance(source, Files) or source.digests is not None:
        return manifest
    return replace(manifest, source=replace(source, digests=file_digests(source.root, source.names, cache)))


def file_digests(root: Path, names: Sequence[str], cache: Path | None = None) -> NDArray[np.uint8]:
    """Compute the digest of each file: the first 16 bytes of its SHA-256, which are a sample's id.

    Args:
        root: A folder.
        names: Paths of files relative to it.
        cache: The cache folder; None reads every file and stores nothing.

    Returns:
        uint8 ``[N, 16]``.

    Raises:
        UserError: If a file cannot be read; names it.
    """
    paths = [os.path.join(root, name) for name in names]
    keys = [_state(path) for path in paths]
    memory = None if cache is None else cache / "contents" / "-".join(str(part) for part in file_state(root.stat())[:2])
    known = {} if memory is None else _remembered(memory)
    missing = [index for index, key in enumerate(keys) if key not in known]
    digests, lasting = dict(known), dict(known)
    for index, read in zip(missing, _read_all([paths[index] for index in missing]), strict=True):
        digests[keys[index]] = read.digest
        if read.state == keys[index]:
            lasting[keys[index]] = read.digest
    if memory is not None and len(lasting) > len(known):
        _remember(memory, lasting, set(keys))
    return np.frombuffer(b"".join(digests[key] for key in keys), dtype=np.uint8).reshape(-1, 16)


def file_state(status: os.stat_result) -> tuple[int, int, int, int, int]:
    """What identifies the state of a file: device, inode, size, modification and change time (ns)."""
    numbers = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return tuple(number % 2**64 for number in numbers)  # type: ignore[return-value]


def is_settled(status: os.stat_result) -> bool:
    """Whether a file has been unchanged for so long that any further change alters its times."""
    return max(status.st_mtime_ns, status.st_ctime_ns) + SETTLED_NS <= time.time_ns()


def _state(path: str) -> bytes:
    try:
        status = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not is_regular(status):
        what = f"{REFUSED} but a folder, a pipe, a device or of the system"
        raise UserError(f"cannot read '{path}': it is {what}. Remove or rename it.")
    return _packed(status)


def _packed(status: os.stat_result) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in file_state(status))


def _unreadable(path: str, error: OSError) -> UserError:
    link = " (it is a link)" if os.path.islink(path) else ""
    what = "the image " if is_image(os.path.basename(path)) else ""
    return UserError(f"cannot read {what}'{path}': {error.strerror or error}{link}. Repair or delete the file.")


def _read_all(paths: Sequence[str]) -> Iterable[_Read]:
    """Read files in order, in several threads; Python's lock is free during hashing and reading."""
    with ThreadPoolExecutor(count_cores()) as threads:
        for number, read in enumerate(threads.map(_read, paths)):
            if number % 100 == 0:
                report_progress("reading files", number, len(paths))
            yield read


def _read(path: str) -> _Read:
    hashed = hashlib.sha256()
    try:
        with open_regular(path) as opened:
            before, settled = os.fstat(opened.fileno()), is_settled(os.fstat(opened.fileno()))
            while piece := opened.read(AT_ONCE):
                hashed.update(piece)
            after = os.fstat(opened.fileno())
    except OSError as error:
        raise _unreadable(path, error) from error
    state = _packed(before)
    return _Read(hashed.digest()[:16], state if settled and state == _packed(after) else None)


def _remembered(memory: Path) -> dict[bytes, bytes]:
    """The digests that an earlier call has stored; none if the file is damaged."""
    try:
        content = memory.read_bytes()
    except OSError:
        return {}
    check, entries = content[:32], content[32:]
    if hashlib.sha256(entries).digest() != check:
        return {}
    state, size = STATE_BYTES, STATE_BYTES + DIGEST_BYTES
    return {entries[at : at + state]: entries[at + state : at + size] for at in range(0, len(entries), size)}


def _remember(memory: Path, digests: dict[bytes, bytes], seen: set[bytes]) -> None:
    """Store digests for the next call, without earlier states of the same files.

    If the cache folder cannot be written, this is no error: the next call reads the files again.
    """
    inodes = {key[:16] for key in seen}
    entries = b"".join(key + value for key, value in digests.items() if key in seen or key[:16] not in inodes)
    temporary = memory.with_name(f"{memory.name}.{os.getpid()}")
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.sha256(entries).digest() + entries)
        os.replace(temporary, memory)
