"""The process that hands the journal of a run to trackers, while the run goes on and until its end."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from clsuite.errors import words_of
from clsuite.trackers.journal import FOLDER, Row, new_rows
from clsuite.trackers.loggers import RunLogger, make_logger
from clsuite.trackers.process import ALIVE

POLL = 0.5
"""Seconds between two looks at the journal."""
AT_ONCE = 100
"""Largest number of rows between two signs of life."""
POSITION = ".position"
"""Suffix of the file with the number of rows that a tracker has received, in the run's folder of trackers."""
LOCK = ".lock"
"""File that a process locks which hands over a journal: the run's own, and that of a later call."""
DIGITS = 20
"""Length of that number."""


class _Delivery:
    """Hands the journal of a run to one tracker, from where it was left, until the tracker fails.

    Attributes:
        position: The file with the number of rows that the tracker has received.
        failed: Whether it has failed.
    """

    def __init__(self, tracker: str, journal: Path, tell: Callable[[str], None]) -> None:
        """Prepare; nothing is opened yet.

        Args:
            tracker: The tracker.
            journal: The journal.
            tell: Receives a message if the tracker fails.
        """
        self._tracker, self._path, self._tell = tracker, journal, tell
        self._folder = journal.with_suffix(FOLDER)
        self.position = self._folder / f"{tracker}{POSITION}"
        self.failed = False
        self._journal: BinaryIO | None = None
        self._logger: RunLogger | None = None
        self._read = 0

    def hand_over(self) -> bool:
        """Hand over the next rows; returns whether there were any."""
        return self._attempt(self._hand_over)

    def finish(self, status: str) -> None:
        """Close the tracker's run."""
        logger = self._logger
        if logger is not None:
            self._attempt(lambda: logger.finish(status))

    def _attempt(self, step: Callable[[], object]) -> bool:
        if self.failed:
            return False
        try:
            return bool(step())
        except Exception as error:  # whatever a tracker's library raises
            self.failed = True
            reason = words_of(error)
            self._tell(f"the tracker '{self._tracker}' has failed and is left out: {reason}. The run goes on")
            return False

    def _hand_over(self) -> bool:
        if self._journal is None:
            self._journal = self._open()
        before = self._read
        for row in islice(new_rows(self._journal), AT_ONCE):
            self._read += 1
            if row.kind == "run":
                self._begin(row)
            elif self._logger is not None and self._read > self._received:
                self._logger.log(row.values, row.number)
                if self._logger.one_by_one:
                    self._note()
        if self._read > before and self._logger is not None:
            self._logger.flush()
            self._note()
        return self._read > before

    def _open(self) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._positions = os.open(self.position, os.O_RDWR | os.O_CREAT, 0o666)
        text = os.read(self._positions, DIGITS)
        begins = self._tracker == "csv" or not text.isdigit()  # Lightning deletes a CSV file and does not continue it
        self._received = 0 if begins else int(text)
        return self._path.open("rb")

    def _begin(self, row: Row) -> None:
        self._logger = make_logger(self._tracker, self._folder, row.values, fresh=not self._received)
        if not self._received:
            self._logger.describe(row.values)

    def _note(self) -> None:
        """Note how much the tracker has received, which takes effect even if this process is killed."""
        os.pwrite(self._positions, b"%0*d" % (DIGITS, max(self._read, self._received)), 0)


def write(
    journal: Path,
    trackers: Sequence[str],
    run_ended: Callable[[], str | None],
    tell: Callable[[str], None],
) -> None:
    """Hand the journal of a run to trackers until the run has ended; a tracker that fails is left out.

    If the run is done and no tracker has failed, the journal is removed.

    Args:
        journal: The journal.
        trackers: The trackers.
        run_ended: Returns the status of the run, or None, after a short time, while it goes on.
        tell: Receives messages: that rows were handed over, and which tracker has failed.
    """
    deliveries = [_Delivery(tracker, journal, tell) for tracker in trackers]
    status: str | None = None
    while status is None:
        status = run_ended()
        while any([delivery.hand_over() for delivery in deliveries]):
            tell(ALIVE)
    for delivery in deliveries:
        delivery.finish(status)
    if status == "done" and not any(delivery.failed for delivery in deliveries):
        for path in (journal, *(delivery.position for delivery in deliveries)):
            path.unlink(missing_ok=True)


def main(journal: Path, trackers: Sequence[str]) -> None:
    """Write until the standard input, which holds the status of the run, is closed; tell what happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1, encoding="utf-8", errors="replace")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # trackers print what they like
    received: list[bytes] = []

    def run_ended() -> str | None:
        if not select.select([sys.stdin], [], [], POLL)[0]:
            return None
        received.append(os.read(sys.stdin.fileno(), DIGITS))
        return None if received[-1] else b"".join(received).decode() or "interrupted"

    def tell(message: str) -> None:
        with suppress(OSError):
            messages.write(f"{message}\n")

    with FileLock(journal.with_suffix(FOLDER) / LOCK):
        if journal.exists():  # else another process has handed over everything
            write(journal, trackers, run_ended, tell)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","))
