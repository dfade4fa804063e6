"""The journal of a run: what it measures, row after row, in a file beside its record. Needs no torch."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

JOURNAL, FOLDER = ".journal", ".trackers"
"""Suffixes of the journal and of the folder of the trackers, beside the record."""
Kind = Literal["run", "step", "task"]


@dataclass(frozen=True)
class Row:
    """A row of a journal.

    Attributes:
        kind: ``run`` for the description of the run, which is the first row; ``step`` for an optimizer step; ``task``
            for the evaluation after a task.
        number: Number of optimizer steps of the run so far, or number of tasks learned so far.
        values: The values by name.
    """

    kind: Kind
    number: int
    values: Mapping[str, Any]

    def line(self) -> bytes:
        """The row as a line of the file."""
        return json.dumps([self.kind, self.number, self.values]).encode() + b"\n"


def new_rows(opened: BinaryIO) -> Iterator[Row]:
    """The complete rows from the current position of a file on; the position is then behind the last of them.

    A row that is still being written, or that a killed process has left unfinished, ends the rows.
    """
    while True:
        place = opened.tell()
        row = _parsed(opened.readline())
        if row is None:
            opened.seek(place)
            return
        yield row


def _parsed(line: bytes) -> Row | None:
    """The row of a line; None if it is not complete."""
    if not line.endswith(b"\n"):
        return None
    try:
        kind, number, values = json.loads(line)
    except ValueError:
        return None
    known = kind in get_args(Kind) and isinstance(number, int) and isinstance(values, dict)
    return Row(kind, number, values) if known else None


class Journal:
    """A journal that is written by one process at a time.

    A resumed run computes again what it has written since its checkpoint, with the same result. Rows that are in the
    journal already are therefore not written again.
    """

    def __init__(self, path: Path) -> None:
        """Open a journal, or create it; an unfinished row at its end is removed.

        Raises:
            OSError: If it cannot be read or written.
        """
        self._last: dict[str, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._file = path.open("r+b")
        for row in new_rows(self._file):
            self._last[row.kind] = row.number
        self._file.truncate()

    def append(self, rows: Iterable[Row]) -> None:
        """Write the rows that are new.

        Raises:
            OSError: If they cannot be written.
        """
        for row in rows:
            if row.number > self._last.get(row.kind, -1):
                self._file.write(row.line())
                self._last[row.kind] = row.number
        self._file.flush()

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: If the last rows cannot be written.
        """
        self._file.close()


def add_rows(path: Path, content: bytes) -> None:
    """Add the new rows of another machine's journal to a journal.

    Raises:
        OSError: If they cannot be written.
    """
    journal = Journal(path)
    journal.append(new_rows(io.BytesIO(content)))
    journal.close()
