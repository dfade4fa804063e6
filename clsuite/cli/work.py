"""`clsuite work`: does the planned runs of a folder, as far as that is possible here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from clsuite.api.progress import BenchProgress
from clsuite.cli.console import make_console
from clsuite.cli.failures import print_failures
from clsuite.errors import UserError
from clsuite.records import RecordError, read_record
from clsuite.report.format import counted
from clsuite.runner.bench import BenchStatus, Sharing, run_missing
from clsuite.runner.devices import count_cores, count_gpus, device_slots
from clsuite.runner.executors.choice import local_pool
from clsuite.runner.manifest import (
    Manifest,
    PlannedRun,
    Restorer,
    find_manifests,
    read_manifest,
    record_path,
    training_of,
    unpack_texts,
)
from clsuite.runner.options import BenchOptions
from clsuite.runner.plan import RunPlan
from clsuite.runner.recorded_inputs import Allowed
from clsuite.runner.shared_runs import Version, version_of


def run_work(folder: Path, options: BenchOptions, allowed: Allowed, trust: bool, wait: bool, retry_failed: bool) -> int:
    """Do the planned runs of a folder that nobody has claimed; then wait for others, and do what they leave.

    Args:
        folder: The folder of runs, or of one benchmark.
        options: Where and how to compute.
        allowed: What the plans may import and load here.
        trust: Whether plugin files may run whose text is in the plans.
        wait: Whether to wait for others.
        retry_failed: Whether failed runs are done again.

    Returns:
        Exit status: 0 if all planned runs are done, 1 if one failed or cannot be done here.

    Raises:
        UserError: If nothing is planned there.
    """
    if not find_manifests(folder):
        raise UserError(f"nothing is planned in '{folder}': clsuite bench NAME --plan-only --out {folder} plans runs")
    with TemporaryDirectory(prefix="clsuite-work-") as temporary:
        work = _Work(options, allowed, Path(temporary) if trust else None, retry_failed)
        for waits in (False, True) if wait else (False,):
            for path in find_manifests(folder):
                work.do(path, waits)
    return work.finish()


@dataclass
class _Work:
    """Does the runs of one manifest after another.

    Attributes:
        options: Where and how to compute.
        allowed: What the plans may import and load here.
        unpacked: Folder for the plugin files in the plans; None if they are not trusted.
        retry_failed: Whether failed runs are done again.
        problems: Why runs cannot be done here, with their names.
        tried: The records of runs that this call has done, or refuses.
    """

    options: BenchOptions
    allowed: Allowed
    unpacked: Path | None
    retry_failed: bool
    problems: dict[str, list[str]] = field(default_factory=dict)
    tried: set[Path] = field(default_factory=set)
    failed: bool = False
    console: Console = field(default_factory=make_console)
    warnings: Console = field(default_factory=lambda: make_console(stderr=True))

    def do(self, path: Path, wait: bool) -> None:
        """Do the remaining runs of a manifest, and remove it when all are done."""
        try:
            manifest = read_manifest(path)
        except UserError as error:
            self._complain(str(error), path.name)
            return
        folder = path.parent
        seen = {record_path(folder, run): version_of(record_path(folder, run)) for run in manifest.runs}
        states = {run: _status(record_path(folder, run)) for run in manifest.runs}
        if all(status == "done" for status in states.values()):
            path.unlink(missing_ok=True)
            return
        ended = ("done",) if self.retry_failed else ("done", "failed", "timeout")
        left = [
            run for run, status in states.items() if status not in ended and record_path(folder, run) not in self.tried
        ]
        plans = self._restored(manifest, left, folder)
        if plans:
            self._run(plans, seen, wait)
        if all(_status(record) == "done" for record in seen):
            path.unlink(missing_ok=True)

    def finish(self) -> int:
        """Report what could not be done here; returns the exit status."""
        for reason, names in self.problems.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            self.warnings.print(f"left to others: {names[0]}{more}: {reason}", soft_wrap=True)
        return 1 if self.failed or self.problems else 0

    def _restored(self, manifest: Manifest, runs: Sequence[PlannedRun], folder: Path) -> list[RunPlan]:
        """The plans of the runs that can be done here."""
        allowed = self.allowed
        plans = []
        try:
            if self.unpacked is not None:
                place = self.unpacked / str(len(list(self.unpacked.iterdir())))
                place.mkdir()
                allowed = replace(allowed, plugins_from=(*allowed.plugins_from, *unpack_texts(manifest, place)))
            options = self.options
            restorer = Restorer(
                allowed, options.data_root, options.device, not options.no_feature_store, log=options.log
            )
        except UserError as error:
            self._complain(str(error), folder.name)
            return []
        for run in runs:
            try:
                plans.append(restorer.plan(manifest, run, folder))
            except UserError as error:
                self._complain(str(error), f"{run.method}, seed {run.seed}")
                self.tried.add(record_path(folder, run))
        return plans

    def _run(self, plans: Sequence[RunPlan], seen: Mapping[Path, Version], wait: bool) -> None:
        options, threads = self.options, max(training_of(plan.pending).threads for plan in plans)
        together = max(plan.devices for plan in plans)
        slots = device_slots(options.device, options.jobs, threads, count_gpus(), count_cores(), together)
        sharing = Sharing(stale_after=options.stale_after, wait=wait)
        self.console.print(f"{plans[0].pending.benchmark}: {counted(len(plans), 'run')} to do", soft_wrap=True)
        status = BenchStatus(plans, {}, seen=dict(seen))
        try:
            with BenchProgress(self.console, len(plans), 0) as progress:
                outcomes = run_missing(
                    status, slots, options.timeout, progress.on_event, local_pool(options, slots), sharing
                )
        except UserError as error:
            self._complain(str(error), plans[0].pending.benchmark)
            self.tried |= {plan.record_path for plan in plans}
            return
        ended = [plan for plan in plans if outcomes[plan.record_path].status != "interrupted"]
        there = [plan for plan in ended if plan.record_path.exists()]
        self.tried |= {plan.record_path for plan in there}
        self.failed |= any(outcomes[plan.record_path].status != "done" for plan in there)
        print_failures(self.warnings, there, outcomes)

    def _complain(self, reason: str, name: str) -> None:
        names = self.problems.setdefault(reason, [])
        if name not in names:  # a plan is looked at again when others were waited for
            names.append(name)


def _status(path: Path) -> str:
    """The status of a record; empty if it cannot be read."""
    try:
        return read_record(path).status
    except RecordError:
        return ""
