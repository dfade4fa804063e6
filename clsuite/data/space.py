"""Disk space, reserved before anything is written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np

NO_SUCH_CALL = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, the user's quota is used up, or the file would exceed the size limit."""
AT_ONCE = 1 << 20


def reserve(path: Path, shape: tuple[int, ...]) -> None:
    """Create an ``.npy`` file of uint8 zeros whose blocks are all allocated on the disk.

    It can then be filled through a memory map. Writing to a sparse file on a full disk would end the process by a
    signal, without an error message.

    Raises:
        OSError: If there is not enough space.
    """
    np.lib.format.open_memmap(path, "w+", np.uint8, shape).flush()
    with path.open("r+b") as opened:
        size = os.fstat(opened.fileno()).st_size
        try:
            os.posix_fallocate(opened.fileno(), 0, size)
        except AttributeError:  # not available on this system
            _fill(opened.fileno(), size, size - int(np.prod(shape)))
        except OSError as error:
            if error.errno not in NO_SUCH_CALL:
                raise
            _fill(opened.fileno(), size, size - int(np.prod(shape)))


def _fill(handle: int, size: int, start: int) -> None:
    os.lseek(handle, start, os.SEEK_SET)
    while start < size:
        start += os.write(handle, bytes(min(AT_ONCE, size - start)))


def size_text(size: int) -> str:
    """Format a number of bytes: 820 B, 491.5 kB, 3.1 GB."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def flush_to_disk(folder: Path) -> None:
    """Flush a folder and all files in it to the disk, so that a power failure loses nothing."""
    for path in folder.iterdir():
        flush_file(path)
    flush_file(folder)


def flush_file(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk, if the system supports it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # some systems cannot open folders
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SUCH_CALL:
            raise
    finally:
        os.close(handle)
