"""One process per run, several at a time.

concurrent.futures and multiprocessing.Pool keep their workers and break as a whole when one is killed; here every run
has a process of its own, so that a crash, a kill or a time-out ends that run alone.
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
"""Seconds that a process has to exit after it reported the end of its run; a thread of a plugin may hold it."""
INTERRUPTING = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR1, -signal.SIGHUP)
"""How a process ends that somebody wants to end: its run has not failed."""
TAKEN_OVER = "another process has taken it over, as this one gave no sign of life: it is waited for"
BEGUN_AGAIN = "the process that starts the runs was killed (out of memory?): it resumes at its last finished task"


@dataclass(eq=False)
class _Running:
    plan: RunPlan
    worker: Worker
    before: Version
    end: dict[str, Any] = field(default_factory=dict)

    def received_events(self) -> list[dict[str, Any]]:
        """What its process has sent; the end of the run is remembered."""
        events = self.worker.events()
        self.end = next((event for event in events if event["kind"] == "end"), self.end)
        return [event for event in events if event["kind"] != "end"]

    def status_on_disk(self) -> str:
        """The status of the record that the run itself has written; empty where it has written none."""
        path = self.plan.record_path
        try:
            return read_record(path).status if version_of(path) != self.before else ""
        except RecordError:
            return ""


class Pool:
    """Runs plans in processes of their own."""

    def __init__(
        self,
        slots: Sequence[str],
        timeout: float | None = None,
        entry: Entry = worker_entry.run,
        memory: float | None = None,
    ) -> None:
        """Prepare.

        Args:
            slots: The device of each run at a time.
            timeout: Seconds after which a run is ended.
            entry: What the process of a run does with its plan.
            memory: Bytes that all runs together may take; None does not count them.
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
        """Do all runs that are not done elsewhere; `listener` receives their progress and of how each ended.

        Each run leaves its record, also one that crashed or ran out of time. Ctrl-C ends the runs that are under way;
        they resume at their last finished task when the benchmark is called again.

        Args:
            runs: The runs.
            listener: Receives each.
            failures: Methods that did not come through their check, by `RunPlan.recipe`: their runs have failed.

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
                for one in self._step(runs, running, listener):
                    running.remove(one)
                    runs.give_back(one.plan, again=not one.end)
                for plan, event in runs.news():
                    listener(plan, event)
        except BaseException:
            self._interrupt(running)
            raise
        return self._unwritten

    def _next(self, runs: SharedRuns, running: Sequence[_Running]) -> RunPlan | None:
        """A run for which there is memory."""
        beside = [one.plan for one in running]
        return runs.take(lambda plan: self.memory.has_room(plan, beside))

    def _keep_failed(self, plan: RunPlan, failure: Failure, listener: Listener) -> None:
        listener(plan, {"kind": "start"})
        self._keep(plan, failed_record(plan, failure.status, failure.reason, 0.0))
        listener(plan, {"kind": "end", "status": failure.status})

    def _start(self, plan: RunPlan, running: Sequence[_Running], listener: Listener) -> _Running:
        free = list(self._slots)
        for one in running:
            free.remove(one.plan.device)
        plan = replace(plan, device=free[0])
        listener(plan, {"kind": "start"})
        before = version_of(plan.record_path)
        return _Running(plan, self._server.start(self._entry, plan.whole_paths()), before)

    def _step(self, runs: SharedRuns, running: list[_Running], listener: Listener) -> list[_Running]:
        """Wait a little; hear what there is to hear; return the runs that ended, or have to begin again."""
        if not running:
            time.sleep(0 if runs.is_over else LOOK_AGAIN)
        wait([one.worker.connection for one in running] + [one.worker.process.sentinel for one in running], timeout=0.2)
        ended = []
        for one in running:
            for event in one.received_events():
                listener(one.plan, event)
                runs.report_progress(one.plan, event)
            late = self._timeout is not None and time.monotonic() - one.worker.started > self._timeout
            if runs.is_lost(one.plan) and not one.end:
                one.worker.kill()
                listener(one.plan, {"kind": "warning", "text": TAKEN_OVER})
                ended.append(one)
            elif one.end or late or not one.worker.process.is_alive():
                self._end(one, late, listener)
                ended.append(one)
        return ended

    def _end(self, one: _Running, late: bool, listener: Listener) -> None:
        if one.end:
            one.worker.process.join(timeout=GRACE)
        elif not late:
            one.worker.process.join()
        one.received_events()
        if one.worker.is_lost and not one.end and not one.status_on_disk() and self._begins_again(one, listener):
            return
        ended_late = late and not one.end and one.worker.process.is_alive()
        one.worker.kill()
        status = one.end.get("status") or one.status_on_disk()
        if not status or "unwritten" in one.end:
            record = self._without_result(one, ended_late)
            self._keep(one.plan, record, has_reason="unwritten" in one.end)
            status = record.status
        one.end = one.end or {"status": status}
        listener(one.plan, {"kind": "end", "status": status})

    def _without_result(self, one: _Running, late: bool) -> RunRecord:
        """The record of a run whose process left none."""
        seconds = time.monotonic() - one.worker.started
        if late:
            return failed_record(one.plan, "timeout", f"stopped after {self._timeout} s", seconds)
        if not one.end and one.worker.process.exitcode in INTERRUPTING:
            return one.plan.pending
        return failed_record(one.plan, "failed", one.end.get("unwritten", one.worker.how_it_ended()), seconds)

    def _begins_again(self, one: _Running, listener: Listener) -> bool:
        """Whether a run whose process is lost is started once more."""
        path = one.plan.record_path
        if path in self._begun_again:
            return False
        self._begun_again.add(path)
        one.worker.kill()
        listener(one.plan, {"kind": "warning", "text": BEGUN_AGAIN})
        return True

    def _keep(self, plan: RunPlan, record: RunRecord, has_reason: bool = False) -> None:
        """Write a record, or keep it in memory with the reason why it cannot be written, where that is `told`."""
        try:
            write_record(record, plan.record_path)
        except UserError as error:
            reason = record.error if has_reason else "; ".join(filter(None, (record.error, str(error))))
            self._unwritten[plan.record_path] = record.model_copy(update={"error": reason})

    @staticmethod
    def _interrupt(running: Sequence[_Running]) -> None:
        """End all runs; those that save within their tasks may do so before."""
        saving = [one.worker for one in running if one.plan.checkpoint_minutes is not None]
        try:
            for worker in saving:
                worker.ask_to_save()
            end = time.monotonic() + SAVING
            for worker in saving:
                worker.wait(end - time.monotonic())
        finally:  # also when the user does not wait
            for one in running:
                one.worker.kill()
        for one in running:
            if not one.status_on_disk():
                with suppress(UserError):
                    write_record(one.plan.pending, one.plan.record_path)
