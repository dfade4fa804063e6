"""Worker processes, started by a fork server with the libraries loaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from types import ModuleType
from typing import Any

from clsuite.errors import UserError
from clsuite.interpreters import safe_path
from clsuite.sessions import end_all, end_left, members

Entry = Callable[[Any, Connection], None]
"""The function that a process calls with its work and with the connection to its parent."""
SAVING = 20.0
"""Seconds that an interrupted run has to save its state within a task."""
STEP = 0.05
"""Seconds between checks whether a process has ended."""
LOST = 255
"""The exit status that multiprocessing reports for a process whose fork server is lost."""
TRIES = 3
"""How often starting a process is tried if the fork server ends meanwhile."""
ALIVE: set[int] = set()
"""The active workers; each is the leader of its process group."""


@dataclass(eq=False)
class Worker:
    """A worker process and the connection to it."""

    process: ForkServerProcess
    connection: Connection
    started: float

    @property
    def is_lost(self) -> bool:
        """Whether the fork server is lost: it is unknown how the process ended, and it may still be running."""
        return self.process.exitcode == LOST

    def events(self) -> list[dict[str, Any]]:
        """The events that it has sent since the last call."""
        return self._received()[0]

    def ask_to_save(self) -> None:
        """Ask it to save its state and to end."""
        with suppress(ProcessLookupError):
            os.kill(int(self.process.pid or 0), signal.SIGUSR1)

    def wait(self, seconds: float) -> None:
        """Wait for its end, even if the fork server, which would report it, is lost."""
        end = time.monotonic() + seconds
        with suppress(ProcessLookupError):
            while time.monotonic() < end:
                os.kill(int(self.process.pid or 0), 0)
                time.sleep(STEP)

    def kill(self) -> None:
        """Kill it if it has not ended yet, and all processes that it has started."""
        pid = int(self.process.pid or 0)
        lost = self.is_lost and not self._received()[1]
        others = members(pid) if lost or self.process.exitcode is None else set()
        self.process.kill()
        if lost or (self.is_lost and not self._received()[1]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.join()
        self.connection.close()
        end_all(others)
        end_left(pid)
        ALIVE.discard(pid)

    def how_it_ended(self) -> str:
        """A description of how it ended."""
        code = self.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"the process was ended by {name}{hint}"
        return f"the process exited with status {code} and wrote no result"

    def _received(self) -> tuple[list[dict[str, Any]], bool]:
        """The received events, and whether the other side has closed the connection."""
        events: list[dict[str, Any]] = []
        try:
            while self.connection.poll():
                events.append(self.connection.recv())
        except Exception:  # it ended, or a plugin wrote to the connection
            return events, True
        return events, False


class ForkServer:
    """Starts workers; the server is restarted if it was killed."""

    def __init__(self) -> None:
        """Set the modules that the fork server loads."""
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["clsuite.runner.worker"])

    def start(self, target: Entry, work: Any) -> Worker:
        """Start a process for some work.

        Raises:
            UserError: If no process can be started.
        """
        for _ in range(TRIES):
            parent, child = self._context.Pipe()
            process = self._context.Process(target=target, args=(work, child), daemon=True)
            try:
                with _without_main(), safe_path():
                    with _deaf_to_ctrl_c():
                        ensure_running()
                    process.start()
                ALIVE.add(int(process.pid or 0))
                return Worker(process, parent, time.monotonic())
            except (EOFError, OSError):  # the fork server ended
                parent.close()
            finally:
                child.close()
        raise UserError(
            "no process can be started for the runs: the one that starts them ends each time (out of memory, or "
            "libraries that do not load? See: python -m clsuite.runner.worker)"
        )


def signal_workers(number: int) -> None:
    """Send a signal to all workers and their process groups."""
    for pid in ALIVE:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the caller's script while a process starts: a run does not need it, but would execute it again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that are started here ignore Ctrl-C, which all processes of a terminal receive, while they load."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
