"""Standard output and error, which may be closed, full or unread, without affecting the command."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

NOBODY_READS = (errno.EPIPE, errno.EIO)
"""Errors of a pipe whose reader has closed it, or of a closed terminal."""


class SafeOutput:
    """A stream that drops what cannot be written, and stores the reason."""

    def __init__(self, stream: TextIO) -> None:
        """Wrap a stream."""
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text if possible."""
        try:
            if self.error is None:
                self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        try:
            if self.error is None:
                self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Discard everything from now on, including what Python still buffers."""
        self.error = error
        with suppress(OSError, ValueError):
            handle = os.open(os.devnull, os.O_WRONLY)
            os.dup2(handle, self._stream.fileno())
            os.close(handle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_output() -> Iterator[SafeOutput]:
    """While open, printing never raises; returns standard output, which knows at the end whether all was written."""
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, TextIOWrapper):  # a terminal or pipe that has no arrows gets question marks
            stream.reconfigure(errors="replace")
    out, errors = (SafeOutput(stream) for stream in before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, errors)
    try:
        yield out
    finally:
        out.flush()
        errors.flush()
        sys.stdout, sys.stderr = before


def lost_for(out: SafeOutput) -> str:
    """Why some of the output is missing; empty if nothing is, or the reader has closed the pipe."""
    if out.error is None or out.error.errno in NOBODY_READS:
        return ""
    return f"the output cannot be written: {out.error.strerror or out.error}"


def _open_closed() -> None:
    """Open streams that the caller closed (``>&-``): otherwise the next opened file would replace them."""
    for handle, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            os.fstat(handle)
        except OSError:
            os.dup2(nowhere, handle)
        if nowhere != handle:
            os.close(nowhere)
        setattr(sys, name, open(os.devnull, "w" if handle else "r", encoding="utf-8"))  # noqa: SIM115
