"""Runs a benchmark: what is done already is taken from the records, the rest is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clsuite.errors import UserError
from clsuite.records import RecordError, RunRecord, read_record
from clsuite.runner.plan import RunPlan
from clsuite.runner.pool import Listener, Pool

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Standing:
    """Where a benchmark stands: its plans, and which of them have a finished record.

    Attributes:
        plans: All runs, in the order seed by seed.
        done: Finished records by run key.
    """

    plans: Sequence[RunPlan]
    done: dict[str, RunRecord]

    @property
    def missing(self) -> list[RunPlan]:
        """The runs that are not done."""
        return [plan for plan in self.plans if plan.pending.key not in self.done]


def take_stock(plans: Sequence[RunPlan], warn: Warn) -> Standing:
    """Look which runs are done; a record that cannot be trusted is set aside with a warning, and its run done again."""
    done = {}
    for plan in plans:
        record = _trusted(plan, warn)
        if record is not None and record.status == "done":
            done[plan.pending.key] = record
    return Standing(plans, done)


def _trusted(plan: RunPlan, warn: Warn) -> RunRecord | None:
    if not plan.record_path.exists():
        return None
    try:
        record = read_record(plan.record_path)
        if record.key == plan.pending.key == record.recomputed_key():
            return record
        raise RecordError(f"the record '{plan.record_path}' was edited: its key does not follow from its content")
    except RecordError as error:
        aside = plan.record_path.with_suffix(".unreadable")
        os.replace(plan.record_path, aside)
        warn(f"{error}. It is kept as '{aside.name}', and the run is done again.")
        return None


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
    _check_writable(missing[0].record_path.parent.parent)
    pool = Pool(slots, timeout)
    pool.check(missing)
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
