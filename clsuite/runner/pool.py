"""One process per run, several at a time, from a fork server that has the libraries loaded.

concurrent.futures and multiprocessing.Pool keep their workers and break as a whole when one is killed; here every run
has a process of its own, so that a crash, a kill or a time-out ends that run alone.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

from clsuite.errors import UserError
from clsuite.records import read_record, write_record
from clsuite.runner import worker_entry
from clsuite.runner.plan import RunPlan

Listener = Callable[[RunPlan, dict[str, Any]], None]


@dataclass
class _Running:
    plan: RunPlan
    process: ForkServerProcess
    connection: Connection
    started: float
    before: int = 0
    status: str = ""

    def status_on_disk(self) -> str:
        """The status of the record that the run itself has written; empty where it has written none."""
        path = self.plan.record_path
        return read_record(path).status if _inode(path) != self.before else ""


class Pool:
    """Runs plans in processes of their own."""

    def __init__(self, slots: Sequence[str], timeout: float | None = None) -> None:
        """Start the fork server, which begins to load the libraries.

        Args:
            slots: The device of each run at a time.
            timeout: Seconds after which a run is ended.
        """
        self._slots, self._timeout = tuple(slots), timeout
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["clsuite.runner.worker"])

    def check(self, plans: Sequence[RunPlan]) -> None:
        """Build every learner once.

        Raises:
            UserError: With the first complaint.
        """
        running = self._start(worker_entry.check, plans)
        complaint = self._last_status(running)
        if complaint is None:
            raise UserError(f"the check of the benchmark died ({_how_it_ended(running.process.exitcode)})")
        if complaint:
            raise UserError(complaint)

    def run(self, plans: Iterable[RunPlan], listener: Listener) -> None:
        """Do all runs; `listener` hears of their progress and of how each ended.

        Each run leaves its record, also one that crashed or ran out of time. Ctrl-C ends the runs that are under way;
        they resume at their last finished task when the benchmark is called again.
        """
        waiting, running = list(plans), list[_Running]()
        try:
            while waiting or running:
                while waiting and len(running) < len(self._slots):
                    plan = replace(waiting.pop(0), device=self._free_slot(running))
                    listener(plan, {"kind": "start"})
                    before = _inode(plan.record_path)
                    running.append(replace(self._start(worker_entry.run, plan), before=before))
                for one in self._step(running, listener):
                    running.remove(one)
        except KeyboardInterrupt:
            for one in running:
                _kill(one)
                if not one.status_on_disk():
                    write_record(one.plan.pending, one.plan.record_path)
            raise

    def _free_slot(self, running: Sequence[_Running]) -> str:
        """The device of a slot that no run under way takes."""
        free = list(self._slots)
        for one in running:
            free.remove(one.plan.device)
        return free[0]

    def _start(self, target: Callable[..., None], work: Any) -> _Running:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=target, args=(work, theirs), daemon=True)
        with _without_main():
            process.start()
        theirs.close()
        return _Running(work, process, ours, time.monotonic())

    def _step(self, running: list[_Running], listener: Listener) -> list[_Running]:
        """Wait a little; hear what there is to hear; return the runs that ended."""
        wait([one.connection for one in running] + [one.process.sentinel for one in running], timeout=0.2)
        ended = []
        for one in running:
            for event in _events(one.connection):
                one.status = event["status"] if event["kind"] == "end" else one.status
                if event["kind"] != "end":
                    listener(one.plan, event)
            late = self._timeout is not None and time.monotonic() - one.started > self._timeout
            if late and not one.status:
                _kill(one)
            if one.status or late or not one.process.is_alive():
                self._end(one, late, listener)
                ended.append(one)
        return ended

    def _end(self, one: _Running, late: bool, listener: Listener) -> None:
        one.process.join(timeout=30)
        for event in _events(one.connection):
            one.status = event["status"] if event["kind"] == "end" else one.status
        one.status = one.status or one.status_on_disk()
        if not one.status:
            one.status = "timeout" if late else "failed"
            reason = f"stopped after {self._timeout} s" if late else _how_it_ended(one.process.exitcode)
            record = one.plan.pending.model_copy(
                update={"status": one.status, "error": reason, "seconds": time.monotonic() - one.started}
            )
            write_record(record, one.plan.record_path)
        one.connection.close()
        listener(one.plan, {"kind": "end", "status": one.status})

    @staticmethod
    def _last_status(running: _Running) -> str | None:
        try:
            return str(running.connection.recv()["status"])
        except EOFError:
            running.process.join()
            return None


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the caller's script while a process starts: a run needs nothing of it, but would execute it again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _events(connection: Connection) -> list[dict[str, Any]]:
    events = []
    try:
        while connection.poll():
            events.append(connection.recv())
    except (EOFError, OSError):
        pass
    return events


def _inode(path: Path) -> int:
    """Which file stands at a path; every atomic write puts another one there."""
    return path.stat().st_ino if path.exists() else 0


def _kill(one: _Running) -> None:
    one.process.kill()
    one.process.join()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}"
    return f"the process ended with status {code} without a word"
