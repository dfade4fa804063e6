"""Reports runs without a result: what went wrong, where, and how to see more."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from clsuite.records import RecordError, RunRecord, place_of, read_record, reason_of
from clsuite.records.order import run_name
from clsuite.runner.plan import RunPlan


def print_failures(console: Console, plans: Sequence[RunPlan], outcomes: Mapping[Path, RunRecord]) -> None:
    """Print some lines for each run that is not done."""
    for plan in plans:
        record = outcomes[plan.record_path]
        if record.status == "done":
            continue
        console.print(f"{record.status}: {run_name(record)}: {reason_of(record)}", soft_wrap=True)
        if place := place_of(record, _files(plan)):
            console.print(f"    {place}", soft_wrap=True)
        if _is_written(plan.record_path, record):
            console.print(f"    more: clsuite show {shlex.quote(str(plan.record_path))}", soft_wrap=True, no_wrap=True)


def advise_debug(console: Console, outcomes: Mapping[Path, RunRecord]) -> None:
    """Print how to debug runs that failed, if there are any."""
    if any(record.status == "failed" for record in outcomes.values()):
        console.print("    debug: the same command with --debug (breakpoint() and pdb work there)", soft_wrap=True)


def _files(plan: RunPlan) -> list[str]:
    """The names of the files of a run's plugins."""
    modules = [info.target.rpartition(":")[0] for info in plan.plugins]
    return [Path(module).name if module.endswith(".py") else f"{module.split('.')[-1]}.py" for module in modules]


def _is_written(path: Path, record: RunRecord) -> bool:
    try:
        return read_record(path).error == record.error
    except RecordError:
        return False
