"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clsuite.errors import UserError
from clsuite.regular_files import refuse_irregular

SHOWN_OF_NAME = 100
"""Number of bytes of a file's name in that of its temporary file, which must not be too long for the file system."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary file beside the target that replaces it when the block ends without an error.

    Its content is flushed to the disk before it is renamed, so that a power cut leaves the old file or the new one.

    Raises:
        UserError: If the folder cannot be written, its disk is full, or the target is not a regular file: replacing a
            device would remove it for the whole machine.
    """
    if target.name in ("", ".."):
        raise UserError(f"cannot write '{target}': it is a folder")
    try:
        if target.exists() and not target.is_dir():
            refuse_irregular(target)
    except OSError as error:
        raise UserError(f"cannot write '{target}': {error.strerror or error}") from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _make_temporary(target)
    except OSError as error:
        raise UserError(f"cannot write into '{target.parent}': {error.strerror or error}") from error
    try:
        yield temporary
        _rename(temporary, target)
    except OSError as error:
        raise UserError(f"cannot write '{target}': {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _make_temporary(target: Path) -> Path:
    """An empty file with a new name beside the target; its permissions follow the umask."""
    start = os.fsencode(target.name)[:SHOWN_OF_NAME].decode(errors="ignore")
    while True:
        temporary = target.with_name(f".{start}.{secrets.token_hex(4)}")
        try:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            return temporary
        except FileExistsError:
            continue


def _rename(temporary: Path, target: Path) -> None:
    with temporary.open("rb") as opened:
        os.fsync(opened.fileno())
    os.replace(temporary, target)
    _flush_names(target.parent)


def _flush_names(folder: Path) -> None:
    """Flush the names in a folder to the disk, on systems that support that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
