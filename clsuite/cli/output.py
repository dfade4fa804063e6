"""Standard output and error, which may be closed, full or unread: a command does its work all the same."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

NOBODY_READS = (errno.EPIPE, errno.EIO)
"""The reader has what it wanted, or the terminal is gone."""


class SafeOutput:
    """A stream that drops what cannot be written, and remembers why."""

    def __init__(self, stream: TextIO) -> None:
        """Take a stream over."""
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text, as long as that is possible."""
        try:
            if self.error is None:
                self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, as long as that is possible."""
        try:
            if self.error is None:
                self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Let what is written yet, and what Python still holds at its end, go to nowhere."""
        self.error = error
        with suppress(OSError, ValueError):
            handle = os.open(os.devnull, os.O_WRONLY)
            os.dup2(handle, self._stream.fileno())
            os.close(handle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_output() -> Iterator[SafeOutput]:
    """While open, nothing that is printed raises; gives standard output, to ask at the end whether all was written."""
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
    """Why some of the output is missing; empty where nothing is, or the reader left."""
    if out.error is None or out.error.errno in NOBODY_READS:
        return ""
    return f"the output cannot be written: {out.error.strerror or out.error}"


def _open_closed() -> None:
    """Open what the caller closed (``>&-``): else the next file that is opened would take its place."""
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
