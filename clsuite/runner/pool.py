"""Runs in parallel, each in its own process.

concurrent.futures and multiprocessing.Pool reuse their workers and fail as a whole if one is killed. Here every run has
its own process, so that a crash, a kill or a timeout ends this run only.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from clsuite.errors import UserError
from clsuite.records import RecordError, RunRecord, read_record, write_record
from clsuite.runner import worker_entry
from clsuite.runner.checks import Failure, check_methods
from clsuite.runner.executor import Listener
from clsuite.runner.memory import Memory
from clsuite.runner.plan import RunPlan, failed_record
from clsuite.runner.processes import SAVING, Entry, ForkServer, Worker
from clsuite.runner.shared_runs import LOOK_AGAIN, SharedRuns, Version, version_of

GRACE = 1.0
"""Seconds until a process must have exited after reporting the end of its run; a plugin's thread may block it."""
INTERRUPTING = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR1, -signal.SIGHUP)
"""Exit codes of processes that were ended on purpose: their runs have not failed."""
TAKEN_OVER = "another process has taken it over after missing heartbeats: this process waits for it"
BEGUN_AGAIN = "the process that starts the runs was killed (out of memory?): it resumes at its last finished task"


@dataclass(eq=False)
class _Running:
    plan: RunPlan
    worker: Worker
    before: Version
    end: dict[str, Any] = field(default_factory=dict)

    def received_events(self) -> list[dict[str, Any]]:
        """The events that its process has sent; the end of the run is stored."""
        events = self.worker.events()
        self.end = next((event for event in events if event["kind"] == "end"), self.end)
        return [event for event in events if event["kind"] != "end"]

    def status_on_disk(self) -> str:
        """The status in the record that the run has written; empty if it has written none."""
        path = self.plan.record_path
        try:
            return read_record(path).status if version_of(path) != self.before else ""
        except RecordError:
            return ""


class Pool:
    """Does runs in separate processes."""

    def __init__(
        self,
        slots: Sequence[str],
        timeout: float | None = None,
        entry: Entry = worker_entry.run,
        memory: float | None = None,
    ) -> None:
        """Prepare.

        Args:
            slots: The device of each simultaneous run.
            timeout: Seconds after which a run is ended.
            entry: The function that the process of a run calls with its plan.
            memory: Bytes that all runs together may use; None for no limit.
        """
        self.memory = Memory(memory, on_gpu=any(slot.startswith("cuda") for slot in slots))
        self._entry = entry
        self._slots, self._timeout = tuple(slots), timeout
        self._server = ForkServer()
        self._unwritten: dict[Path, RunRecord] = {}
        self._begun_again: set[Path] = set()

    def check(self, plans: Sequence[RunPlan]) -> dict[str, Failure]:
        """Build every method once; see `check_methods`."""
        return check_methods(self._server, [plan.whole_paths() for plan in plans], self._timeout, self.memory.sizes)

    def run(self, runs: SharedRuns, listener: Listener, failures: Mapping[str, Failure]) -> dict[Path, RunRecord]:
        """Do all runs that are not done elsewhere; `listener` receives their progress and how each ended.

        Each run leaves a record, even after a crash or timeout. Ctrl-C ends the current runs; they resume after their
        last finished task when the benchmark is started again.

        Args:
            runs: The runs.
            listener: Receives the events of each run.
            failures: Methods that failed their check, by `RunPlan.recipe`: their runs fail.

        Returns:
            The records that could not be written, by their path.
        """
        running = list[_Running]()
        try:
            while running or not runs.is_over:
                while len(running) < len(self._slots) and (plan := self._next(runs, running)) is not None:
                    failure = failures.get(plan.recipe)
                    if failure is None:
                        running.append(self._start(plan, running, listener))
                    else:
                        self._keep_failed(plan, failure, listener)
                        runs.give_back(plan)
                for current in self._step(runs, running, listener):
                    running.remove(current)
                    runs.give_back(current.plan, again=not current.end)
                for plan, event in runs.news():
                    listener(plan, event)
        except BaseException:
            self._interrupt(running)
            raise
        return self._unwritten

    def _next(self, runs: SharedRuns, running: Sequence[_Running]) -> RunPlan | None:
        """A run for which there is enough memory."""
        beside = [current.plan for current in running]
        return runs.take(lambda plan: self.memory.has_room(plan, beside))

    def _keep_failed(self, plan: RunPlan, failure: Failure, listener: Listener) -> None:
        listener(plan, {"kind": "start"})
        self._keep(plan, failed_record(plan, failure.status, failure.reason, 0.0))
        listener(plan, {"kind": "end", "status": failure.status})

    def _start(self, plan: RunPlan, running: Sequence[_Running], listener: Listener) -> _Running:
        free = list(self._slots)
        for current in running:
            free.remove(current.plan.device)
        plan = replace(plan, device=free[0])
        listener(plan, {"kind": "start"})
        before = version_of(plan.record_path)
        return _Running(plan, self._server.start(self._entry, plan.whole_paths()), before)

    def _step(self, runs: SharedRuns, running: list[_Running], listener: Listener) -> list[_Running]:
        """Wait for a short time and handle events; returns the runs that ended or must be restarted."""
        if not running:
            time.sleep(0 if runs.is_over else LOOK_AGAIN)
        wait(
            [current.worker.connection for current in running]
            + [current.worker.process.sentinel for current in running],
            timeout=0.2,
        )
        ended = []
        for current in running:
            for event in current.received_events():
                listener(current.plan, event)
                runs.report_progress(current.plan, event)
            late = self._timeout is not None and time.monotonic() - current.worker.started > self._timeout
            if runs.is_lost(current.plan) and not current.end:
                current.worker.kill()
                listener(current.plan, {"kind": "warning", "text": TAKEN_OVER})
                ended.append(current)
            elif current.end or late or not current.worker.process.is_alive():
                self._end(current, late, listener)
                ended.append(current)
        return ended

    def _end(self, current: _Running, late: bool, listener: Listener) -> None:
        if current.end:
            current.worker.process.join(timeout=GRACE)
        elif not late:
            current.worker.process.join()
        current.received_events()
        if (
            current.worker.is_lost
            and not current.end
            and not current.status_on_disk()
            and self._begins_again(current, listener)
        ):
            return
        ended_late = late and not current.end and current.worker.process.is_alive()
        current.worker.kill()
        status = current.end.get("status") or current.status_on_disk()
        if not status or "unwritten" in current.end:
            record = self._without_result(current, ended_late)
            self._keep(current.plan, record, has_reason="unwritten" in current.end)
            status = record.status
        current.end = current.end or {"status": status}
        listener(current.plan, {"kind": "end", "status": status})

    def _without_result(self, current: _Running, late: bool) -> RunRecord:
        """The record of a run whose process has not written one."""
        seconds = time.monotonic() - current.worker.started
        if late:
            return failed_record(current.plan, "timeout", f"stopped after {self._timeout} s", seconds)
        if not current.end and current.worker.process.exitcode in INTERRUPTING:
            return current.plan.pending
        return failed_record(
            current.plan, "failed", current.end.get("unwritten", current.worker.how_it_ended()), seconds
        )

    def _begins_again(self, current: _Running, listener: Listener) -> bool:
        """Whether a run whose process was lost is started once more."""
        path = current.plan.record_path
        if path in self._begun_again:
            return False
        self._begun_again.add(path)
        current.worker.kill()
        listener(current.plan, {"kind": "warning", "text": BEGUN_AGAIN})
        return True

    def _keep(self, plan: RunPlan, record: RunRecord, has_reason: bool = False) -> None:
        """Write a record; if that fails, keep it in memory with the reason, unless it is known (`has_reason`)."""
        try:
            write_record(record, plan.record_path)
        except UserError as error:
            reason = record.error if has_reason else "; ".join(filter(None, (record.error, str(error))))
            self._unwritten[plan.record_path] = record.model_copy(update={"error": reason})

    @staticmethod
    def _interrupt(running: Sequence[_Running]) -> None:
        """End all runs; those that save their state within tasks can do so first."""
        saving = [current.worker for current in running if current.plan.checkpoint_minutes is not None]
        try:
            for worker in saving:
                worker.ask_to_save()
            end = time.monotonic() + SAVING
            for worker in saving:
                worker.wait(end - time.monotonic())
        finally:  # also if the user does not wait
            for current in running:
                current.worker.kill()
        for current in running:
            if not current.status_on_disk():
                with suppress(UserError):
                    write_record(current.plan.pending, current.plan.record_path)
