"""Executors, which do the runs of a benchmark: in processes of this machine, or in this process."""

from __future__ import annotations

import sys
import time
from bdb import BdbQuit
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from clsuite.errors import UserError
from clsuite.plugin.source_hash import is_reference
from clsuite.records import RunRecord, write_record
from clsuite.runner.checks import Failure
from clsuite.runner.plan import RunPlan, failed_record
from clsuite.runner.shared_runs import LOOK_AGAIN, SharedRuns

Listener = Callable[[RunPlan, dict[str, Any]], None]
"""Receives the progress of a run: ``{"kind": "start"}``, ``{"kind": "progress", ...}``, ``{"kind": "end", ...}``;
of runs that other processes do, ``{"kind": "claimed", "by": ...}`` and ``{"kind": "elsewhere", "status": ...}``."""
OnFailure = Callable[[RunPlan, BaseException], None]


class Executor(Protocol):
    """Does runs from their plans; each writes its record to `RunPlan.record_path`."""

    def check(self, plans: Sequence[RunPlan]) -> Mapping[str, Failure]:
        """Build every method once before any run.

        Args:
            plans: The runs that are to be done.

        Returns:
            How methods failed, by `RunPlan.recipe`.

        Raises:
            UserError: With everything that the methods refuse.
        """

    def run(self, runs: SharedRuns, listener: Listener, failures: Mapping[str, Failure]) -> dict[Path, RunRecord]:
        """Do all runs that are not done elsewhere.

        Args:
            runs: The runs: `SharedRuns.take` gives one that is claimed, and `SharedRuns.give_back` takes it back when
                its record is written.
            listener: Receives the progress of each run and how it ended.
            failures: Methods that failed their check: their runs have failed.

        Returns:
            The records that could not be written, by their path.
        """


@runtime_checkable
class Submitting(Executor, Protocol):
    """An executor whose runs are done by jobs that continue without the process that submitted them."""

    def submit(self, plans: Sequence[RunPlan]) -> object:
        """Submit jobs for runs that are planned in their folder, report which, and do not wait for them."""

    def cancel(self) -> None:
        """Cancel the jobs that were submitted."""


class InProcess:
    """Does runs in this process, one after the other, so that a debugger can stop in them.

    No output is redirected. The settings that a run makes (threads of PyTorch, for example) remain, and the peak memory
    in its record is that of this process.
    """

    def __init__(self, device: str, on_failure: OnFailure) -> None:
        """Prepare.

        Args:
            device: The device of the runs.
            on_failure: Called after each failed run, whose record has been written, with its exception.
        """
        self._device, self._on_failure = device, on_failure

    def check(self, plans: Sequence[RunPlan]) -> Mapping[str, Failure]:
        """Check nothing: a run builds and starts its method too, and that is where the debugger opens.

        A check here would stop at each ``breakpoint()`` of a constructor twice, and leave state in a method's module or
        class for the runs.
        """
        return {}

    def run(self, runs: SharedRuns, listener: Listener, failures: Mapping[str, Failure]) -> dict[Path, RunRecord]:
        """Do all runs that are not done elsewhere.

        Raises:
            KeyboardInterrupt: If it is interrupted, or the debugger is quit; the run can be resumed.
        """
        unwritten: dict[Path, RunRecord] = {}
        while not runs.is_over:
            plan = runs.take()
            for other, event in runs.news():
                listener(other, event)
            if plan is None:
                time.sleep(LOOK_AGAIN)
                continue
            self._do(replace(plan, device=self._device).whole_paths(), listener, unwritten)
            runs.give_back(plan)
        return unwritten

    def _do(self, plan: RunPlan, listener: Listener, unwritten: dict[Path, RunRecord]) -> None:
        _forget(plan)
        listener(plan, {"kind": "start"})
        try:
            record, error = _execute(plan, listener, unwritten)
        except (KeyboardInterrupt, BdbQuit) as stop:
            with suppress(UserError):
                write_record(plan.pending, plan.record_path)
            raise stop if isinstance(stop, KeyboardInterrupt) else KeyboardInterrupt from stop
        listener(plan, {"kind": "end", "status": record.status})
        if error is not None:
            self._on_failure(plan, error)


def _execute(
    plan: RunPlan, listener: Listener, unwritten: dict[Path, RunRecord]
) -> tuple[RunRecord, BaseException | None]:
    """The record of a run, and its exception if it failed."""
    from clsuite.runner.execute import execute

    raised: list[BaseException] = []
    try:
        record = execute(plan, lambda event: listener(plan, {"kind": "progress", **event}), raised.append)
    except UserError as error:
        record = unwritten[plan.record_path] = failed_record(plan, "failed", str(error), 0.0)
        raised = raised or [error]
    return record, raised[0] if raised else None


def _forget(plan: RunPlan) -> None:
    """Let the local modules of a run's plugins be imported again, as they may have changed since the last import."""
    for source in (info.source for info in plan.plugins if info.source is not None):
        for name in [name for name in source.hashed.modules if not is_reference(name)]:
            sys.modules.pop(name, None)


def raise_error(_: RunPlan, error: BaseException) -> None:
    """Raise the exception of a failed run, for callers in Python."""
    raise error
