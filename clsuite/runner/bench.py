"""Runs a benchmark: finished runs are read from their records, the others are run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clsuite.errors import UserError
from clsuite.records import RecordError, RunRecord, read_record, why_untrue
from clsuite.records.state_files import STATES, remove_states
from clsuite.runner.claims import STALE_AFTER
from clsuite.runner.executor import Executor, Listener
from clsuite.runner.manifest import write_manifest
from clsuite.runner.plan import RunPlan, failed_record
from clsuite.runner.pool import Pool
from clsuite.runner.shared_runs import SharedRuns, Version, version_of
from clsuite.trackers.journal import JOURNAL
from clsuite.trackers.process import WriterProcess

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Sharing:
    """How the runs of a call are shared with other processes.

    Attributes:
        offered: Whether the plan is written into the folder, so that others can help.
        stale_after: Seconds without a heartbeat after which a run of another process is taken over.
        wait: Whether to wait for runs that others are doing.
    """

    offered: bool = False
    stale_after: float = STALE_AFTER
    wait: bool = True


ALONE = Sharing()


@dataclass(frozen=True)
class BenchStatus:
    """The progress of a benchmark: its plans, and which of them have a finished record.

    Attributes:
        plans: All runs, seed by seed.
        done: Finished records by their path (methods that do the same share a key, but not a record).
        untrusted: Files at the path of a record that cannot be trusted; they are set aside before their runs.
        seen: The version of the file at the path of each record when it was read; another version is another process's
            work.
    """

    plans: Sequence[RunPlan]
    done: dict[Path, RunRecord]
    untrusted: list[Path] = field(default_factory=list)
    seen: dict[Path, Version] = field(default_factory=dict)

    @property
    def missing(self) -> list[RunPlan]:
        """The runs that are not done."""
        return [plan for plan in self.plans if plan.record_path not in self.done]


def scan_results(plans: Sequence[RunPlan], warn: Warn) -> BenchStatus:
    """Find out which runs are done; a record that cannot be trusted causes a warning, and its run is done again."""
    status = BenchStatus(plans, {})
    for plan in plans:
        status.seen[plan.record_path] = version_of(plan.record_path)
        if not os.path.exists(plan.record_path):  # of a path that no file system takes, pathlib's raises
            continue
        try:
            record = _trusted(plan)
        except RecordError as error:
            status.untrusted.append(plan.record_path)
            warn(f"{error}. It will be renamed to '{_aside(plan.record_path).name}', and the run repeated.")
            continue
        if record.status == "done":
            status.done[plan.record_path] = record
            if plan.save_model and not plan.beside(".pt").exists():
                warn(f"{plan.name} is done, but without its model: add --force to train it again")
            if plan.keep_states and record.states is None:
                warn(f"{plan.name} is done, but without its states: add --force to train it again")
    return status


def _trusted(plan: RunPlan) -> RunRecord:
    record = read_record(plan.record_path)
    problem = "was edited: its key does not follow from its content"
    if record.key == plan.pending.key == record.recomputed_key():
        problem = why_untrue(record, plan.record_path)
    if problem:
        raise RecordError(f"the record '{plan.record_path}' {problem}")
    return record


def _aside(path: Path) -> Path:
    return path.with_suffix(".unreadable")


def run_missing(
    status: BenchStatus,
    slots: Sequence[str],
    timeout: float | None,
    listener: Listener,
    executor: Executor | None = None,
    sharing: Sharing = ALONE,
) -> dict[Path, RunRecord]:
    """Do the runs that are not done, except those that other processes do meanwhile in the same folder.

    Args:
        status: Which runs are done.
        slots: The device of each simultaneous run.
        timeout: Seconds after which a run is ended; a method that hangs when it is built fails after that time too.
        listener: Receives the progress of the runs.
        executor: What does the runs; by default processes of this machine.
        sharing: How they are shared with other processes.

    Returns:
        The record of every run, by its path: one that is missing, or cannot be read or written, counts as failed, with
        the reason.

    Raises:
        UserError: Before any run, if the folder cannot be written or a method refuses to be built.
    """
    hand_over_rest([plan for plan in status.plans if plan.record_path in status.done])
    missing, unwritten = status.missing, dict[Path, RunRecord]()
    if missing:
        folder = missing[0].record_path.parent.parent
        check_writable(folder)
        executor = executor or Pool(slots, timeout)
        runs = SharedRuns(missing, status.seen, sharing.stale_after, sharing.wait)
        failures = executor.check(missing)
        _make(folder, {path: status.seen.get(path) for path in status.untrusted})
        written = write_manifest(folder, missing) if sharing.offered else None
        with runs:
            unwritten = executor.run(runs, listener, failures)
    outcomes = {plan.record_path: unwritten.get(plan.record_path) or _read_outcome(plan) for plan in status.plans}
    if missing and written is not None and all(record.status == "done" for record in outcomes.values()):
        written.unlink(missing_ok=True)
    return outcomes


def hand_over_rest(done: Sequence[RunPlan]) -> None:
    """Hand over what the trackers of finished runs have not received: they had failed, or a process was killed."""
    for plan in done:
        if plan.trackers and plan.beside(JOURNAL).exists():
            writer = WriterProcess(plan.beside(JOURNAL), plan.trackers)
            writer.end("done")
            writer.wait()


def forget(plans: Sequence[RunPlan]) -> BenchStatus:
    """The status of plans that are all to be done from their first task on.

    Raises:
        UserError: If a checkpoint cannot be removed.
    """
    for checkpoint in (plan.beside(suffix) for plan in plans for suffix in (".ckpt", ".task.ckpt", JOURNAL)):
        try:
            checkpoint.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"cannot remove '{checkpoint}': {error.strerror or error}") from error
    for plan in plans:
        remove_states(plan.beside(STATES))
    return BenchStatus(plans, {})


def _read_outcome(plan: RunPlan) -> RunRecord:
    try:
        record = read_record(plan.record_path)
        if record.key == plan.pending.key:
            return record
        reason = f"the record '{plan.record_path}' is another run's"
    except RecordError as error:
        reason = str(error)
    return failed_record(plan, "failed", reason, 0.0)


def check_writable(folder: Path) -> None:
    """Check, without writing, that a folder can be created and written.

    Raises:
        UserError: If it cannot.
    """
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if os.path.exists(parent))
    if not nearest.is_dir():
        raise UserError(f"cannot write into '{folder}': '{nearest}' is a file. Choose another folder with --out.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write into '{folder}': no permission in '{nearest}'. Choose another folder with --out."
        )


def _make(folder: Path, untrusted: Mapping[Path, Version | None]) -> None:
    """Create the folder, which may only then turn out to be read-only, and set aside what cannot be trusted."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, seen in untrusted.items():
            if seen is None or version_of(path) == seen:  # else another process has done so
                os.replace(path, _aside(path))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write into '{folder}': {reason}. Choose another folder with --out.") from error
