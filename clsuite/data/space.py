"""Room on the disk, taken before anything is written into it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np

NO_SUCH_CALL = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, or the user's share of it, or a file would become larger than may be."""
AT_ONCE = 1 << 20


def reserve(path: Path, shape: tuple[int, ...]) -> None:
    """Make an ``.npy`` file of uint8 zeros whose blocks are all on the disk.

    A memory map may then be filled: of a file with holes, a full disk would show in a signal that ends the process
    without a word.

    Raises:
        OSError: If the disk has no room for it.
    """
    np.lib.format.open_memmap(path, "w+", np.uint8, shape).flush()
    with path.open("r+b") as opened:
        size = os.fstat(opened.fileno()).st_size
        try:
            os.posix_fallocate(opened.fileno(), 0, size)
        except AttributeError:  # a system without that call
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
    """A number of bytes for people: 820 B, 491.5 kB, 3.1 GB."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def flush_to_disk(folder: Path) -> None:
    """Have a folder and all files in it on the disk before the call returns: a power cut then loses nothing."""
    for path in folder.iterdir():
        flush_file(path)
    flush_file(folder)


def flush_file(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk, where a system can be asked for that."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder cannot be opened everywhere
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SUCH_CALL:
            raise
    finally:
        os.close(handle)
