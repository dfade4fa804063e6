"""Starts the process that hands the journal of a run to trackers, and waits for it at the end. Needs no torch."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from clsuite.errors import InputWarning, warn_of
from clsuite.interpreters import PYTHON, own_path, safe_path
from clsuite.trackers.journal import FOLDER

ALIVE = "alive"
"""The message of the process that it has handed over rows."""
PATIENCE = 120.0
"""Seconds without a sign of life after which the process is ended: a server may not answer."""
SHORT = 5.0
"""The same if the run was interrupted, which will hand over the rest when it is resumed."""
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables by which Lightning would take the process for one of several that train together, and log nothing."""
SOON = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""Settings by which a server that is away is given up within a minute, unless the user has set others."""
LOG = "output.log"
"""File with the output of the trackers, in the run's folder of trackers."""


class WriterProcess:
    """The process that hands the journal of a run to trackers; whatever happens to it, the run goes on."""

    def __init__(self, journal: Path, trackers: Sequence[str]) -> None:
        """Start the process.

        Args:
            journal: The journal, which exists.
            trackers: The trackers.
        """
        self._process: subprocess.Popen[bytes] | None = None
        self._rest, self._patience = b"", PATIENCE
        self._log = journal.with_suffix(FOLDER) / LOG
        command = [*PYTHON, "-m", "clsuite.trackers.writer", str(journal.absolute()), ",".join(trackers)]
        environment = {**SOON, **os.environ, "PYTHONPATH": own_path()}
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log, safe_path():
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                    env={name: value for name, value in environment.items() if name not in RANKS},
                )  # fmt: skip
        except OSError as error:
            warn_of(f"trackers receive nothing: their process cannot start ({error.strerror or error})", InputWarning)

    def report(self) -> bool:
        """Warn of what the process has told since the last call; returns whether it has told anything."""
        lines = self._lines()
        for line in lines:
            if line != ALIVE:
                warn_of(line, InputWarning)
        return bool(lines)

    def end(self, status: str) -> None:
        """Let the process hand over the rest and end.

        Args:
            status: Status of the run.
        """
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # it has ended, as its exit status tells
                self._process.stdin.write(status.encode())
                self._process.stdin.close()
        self._patience = SHORT if status == "interrupted" else PATIENCE

    def wait(self) -> None:
        """Wait for the end of the process, as long as it makes progress."""
        if self._process is None:
            return
        patience, last = self._patience, time.monotonic()
        while self._process.poll() is None and time.monotonic() - last < patience:
            self._wait()
            last = time.monotonic() if self.report() else last
        self._end(patience)

    def _end(self, patience: float) -> None:
        assert self._process is not None
        self.report()
        if self._process.poll() is None:
            self._process.kill()
            if patience > SHORT:
                warn_of(f"trackers did not answer for {patience:g} s and have not received everything", InputWarning)
        elif self._process.returncode:
            code = self._process.returncode
            warn_of(f"the process of the trackers ended with status {code}: see '{self._log}'", InputWarning)
        self._process.wait()

    def _wait(self) -> None:
        """Wait a short time for a message or the end."""
        assert self._process is not None
        assert self._process.stdout is not None
        time.sleep(0.05)
        select.select([self._process.stdout], [], [], 0.2)

    def _lines(self) -> list[str]:
        """The complete lines that the process has printed since the last call."""
        if self._process is None or self._process.stdout is None:
            return []
        while select.select([self._process.stdout], [], [], 0)[0]:
            chunk = os.read(self._process.stdout.fileno(), 4096)
            if not chunk:
                break
            self._rest += chunk
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]
