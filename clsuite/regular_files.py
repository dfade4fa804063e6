"""Files of others are opened here: regular ones alone, so that nothing is read that waits, or has no end.

A link may lead anywhere: to a pipe that nobody writes into, to ``/dev/zero``, to ``/proc/kmsg``, which says that it is
a regular file and is none.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import cache
from io import BufferedReader
from pathlib import Path

SYSTEM = ("/proc", "/sys")
"""Where the system itself answers in place of files."""
REFUSED = "not a regular file"


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: If there is none, or it is a folder, a pipe, a device or of the system; nothing is read of it then.
    """
    refuse_irregular(path)
    opened = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    try:
        _refuse(path, os.fstat(opened.fileno()))  # it may have become another one in the meantime
    except OSError:
        opened.close()
        raise
    return opened


def refuse_irregular(path: str | Path) -> None:
    """Make sure that what is read next, by a library that takes paths, is a regular file.

    Raises:
        OSError: As `open_regular`.
    """
    _refuse(path, os.stat(path))


def read_bytes(path: str | Path) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: As `open_regular`.
    """
    with open_regular(path) as opened:
        return opened.read()


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """The text of a regular file, with line feeds as ends of lines.

    Raises:
        OSError: As `open_regular`.
        UnicodeDecodeError: If it is of another encoding.
    """
    return read_bytes(path).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def is_regular(status: os.stat_result) -> bool:
    """Whether a file can be read to its end."""
    return stat.S_ISREG(status.st_mode) and status.st_dev not in _devices_of_the_system()


def is_no_folder(path: Path) -> bool:
    """Whether something is there that is opened as a file is; whether it is one shows then."""
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _refuse(path: str | Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not is_regular(status):
        raise OSError(errno.EINVAL, REFUSED, str(path))


def _without_waiting(path: str, flags: int) -> int:
    """A pipe is opened at once, whether a process writes into it or not."""
    return os.open(path, flags | os.O_NONBLOCK)


@cache
def _devices_of_the_system() -> frozenset[int]:
    """The devices that the system's own folders are, where it has them."""
    own = os.stat("/").st_dev
    there = {os.stat(folder).st_dev for folder in SYSTEM if os.path.isdir(folder)}
    return frozenset(there - {own})
