"""Runs a benchmark: what is done already is taken from the records, the rest is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clsuite.errors import UserError
from clsuite.records import RecordError, RunRecord, read_record, why_untrue
from clsuite.runner.plan import RunPlan
from clsuite.runner.pool import Listener, Pool

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Standing:
    """Where a benchmark stands: its plans, and which of them have a finished record.

    Attributes:
        plans: All runs, in the order seed by seed.
        done: Finished records by their path (two methods that do the same share a key, but not a record).
        untrusted: Files that stand where a record should and cannot be trusted; set aside before their runs.
    """

    plans: Sequence[RunPlan]
    done: dict[Path, RunRecord]
    untrusted: list[Path] = field(default_factory=list)

    @property
    def missing(self) -> list[RunPlan]:
        """The runs that are not done."""
        return [plan for plan in self.plans if plan.record_path not in self.done]


def take_stock(plans: Sequence[RunPlan], warn: Warn) -> Standing:
    """Look which runs are done; a record that cannot be trusted is warned of, and its run is to be done again."""
    standing = Standing(plans, {})
    for plan in plans:
        if not plan.record_path.exists():
            continue
        try:
            record = _trusted(plan)
        except RecordError as error:
            standing.untrusted.append(plan.record_path)
            warn(f"{error}. It will be kept as '{_aside(plan.record_path).name}', and the run done again.")
            continue
        if record.status == "done":
            standing.done[plan.record_path] = record
            if plan.save_model and not plan.beside(".pt").exists():
                warn(f"{plan.name} is done, but without its model: add --force to train it again")
    return standing


def _trusted(plan: RunPlan) -> RunRecord:
    record = read_record(plan.record_path)
    complaint = "was edited: its key does not follow from its content"
    if record.key == plan.pending.key == record.recomputed_key():
        complaint = why_untrue(record, plan.record_path)
    if complaint:
        raise RecordError(f"the record '{plan.record_path}' {complaint}")
    return record


def _aside(path: Path) -> Path:
    return path.with_suffix(".unreadable")


def run_missing(standing: Standing, slots: Sequence[str], timeout: float | None, listener: Listener) -> None:
    """Do the runs that are not done.

    Args:
        standing: Which runs are done.
        slots: The device of each run at a time.
        timeout: Seconds after which a run is ended.
        listener: Hears of the runs' progress.

    Raises:
        UserError: Before any run, if the folder cannot be written or a learner cannot be built.
    """
    missing = standing.missing
    if not missing:
        return
    folder = missing[0].record_path.parent.parent
    _check_writable(folder)
    pool = Pool(slots, timeout)
    pool.check(missing)
    _make(folder)
    for path in standing.untrusted:
        os.replace(path, _aside(path))
    pool.run(missing, listener)


def _check_writable(folder: Path) -> None:
    """Check, without writing, that the folder can be made and written."""
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise UserError(f"cannot write into '{folder}': '{nearest}' is a file. Choose another folder with --out.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write into '{folder}': no permission in '{nearest}'. Choose another folder with --out."
        )


def _make(folder: Path) -> None:
    """Make the folder; some places only then say that they take none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write into '{folder}': {reason}. Choose another folder with --out.") from error
