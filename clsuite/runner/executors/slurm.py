"""Runs as a job array of Slurm: its jobs are workers on the shared folder, which divide the runs by claims."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clsuite.records import RunRecord
from clsuite.runner.checks import Failure
from clsuite.runner.executor import Listener
from clsuite.runner.executors.slurm_job import SlurmWorker, asked, import_submitit, submit
from clsuite.runner.executors.spec import SlurmExecutor
from clsuite.runner.manifest import make_manifest
from clsuite.runner.options import BenchOptions
from clsuite.runner.plan import ELSEWHERE, RunPlan, failed_record
from clsuite.runner.pool import Pool
from clsuite.runner.shared_runs import LOOK_AGAIN, SharedRuns

LOGS = "slurm"
"""The folder beside the records for the logs of the jobs."""
ASK_AGAIN = 10.0
"""Seconds between two queries for the state of the jobs."""


@dataclass(frozen=True)
class Submitted:
    """Submitted jobs.

    Attributes:
        name: The name that they have in common with those that they submit.
        ids: Their ids.
        logs: The folder of their logs.
    """

    name: str
    ids: Sequence[str]
    logs: Path

    def __str__(self) -> str:
        """A description of the jobs, and how to see and to cancel them."""
        array = self.ids[0].partition("_")[0]
        jobs = self.ids[0] if len(self.ids) == 1 else f"{array}_[0-{len(self.ids) - 1}]"
        return f"submitted to Slurm: {jobs} (squeue --name={self.name}; scancel --name={self.name}; logs: {self.logs})"


class SlurmArray:
    """Does runs by jobs of Slurm."""

    def __init__(
        self, chosen: SlurmExecutor, options: BenchOptions, threads: int, notify: Callable[[str], None]
    ) -> None:
        """Prepare.

        Args:
            chosen: The options of the jobs.
            options: The options of the call.
            threads: CPU threads of a run.
            notify: Receives a message about the submitted jobs.

        Raises:
            UserError: If submitit is not installed.
        """
        import_submitit()
        self._at_a_time = options.jobs or max(1, chosen.gpus // options.devices)
        cpus = threads * options.devices * self._at_a_time
        self._chosen = chosen.model_copy(update={"cpus": chosen.cpus or cpus})
        self._options, self._notify = options, notify
        self.submitted: Submitted | None = None

    def check(self, plans: Sequence[RunPlan]) -> Mapping[str, Failure]:
        """Build every method once, on this machine, which may have no GPU; see `check_methods`."""
        return Pool(["cpu"], self._options.timeout).check([replace(plan, device=ELSEWHERE) for plan in plans])

    def submit(self, plans: Sequence[RunPlan]) -> Submitted:
        """Submit jobs for some planned runs, without waiting for them.

        Raises:
            UserError: If Slurm refuses them, or is not available.
        """
        folder = plans[0].record_path.parent.parent.absolute()
        name = f"clsuite-{plans[0].pending.benchmark}-{secrets.token_hex(3)}"
        arguments = (str(folder), f"--jobs={self._at_a_time}", *self._arguments())
        texts = make_manifest(plans).texts
        worker = SlurmWorker(self._chosen, name, folder / LOGS, arguments, texts, self._options.stale_after)
        ids = submit([worker] * min(self._chosen.workers, len(plans)))
        self.submitted = Submitted(name, ids, folder / LOGS)
        self._notify(str(self.submitted))
        return self.submitted

    def _arguments(self) -> list[str]:
        """The options of the call for the workers."""
        options = self._options
        root = (options.data_root or Path()).absolute()
        more = [f"--timeout={options.timeout}"] if options.timeout else []
        more += ["--no-feature-store"] if options.no_feature_store else []
        return [f"--data-root={root}", f"--device={options.device}", f"--stale-after={options.stale_after}", *more]

    def run(self, runs: SharedRuns, listener: Listener, failures: Mapping[str, Failure]) -> dict[Path, RunRecord]:
        """Have all runs done that are not done elsewhere, and report their progress from the state of the folder.

        Args:
            runs: The runs.
            listener: Receives the events of each run.
            failures: Methods that failed their check; the jobs find the same.

        Returns:
            Runs that no job has done, as failed.

        Raises:
            UserError: If Slurm refuses the jobs, or is not available.
        """
        jobs = self.submit(runs.left) if runs.left else None
        asked_at = time.monotonic()
        while jobs is not None and not runs.is_over:
            ended = False
            if time.monotonic() - asked_at > ASK_AGAIN:
                ended, asked_at = not jobs_of(jobs.name), time.monotonic()
            runs.look()
            for plan, event in runs.news():
                listener(plan, event)
            if ended and runs.left:
                reason = f"the jobs of Slurm have ended without it: see their logs in '{jobs.logs}'"
                return {plan.record_path: failed_record(plan, "failed", reason, 0.0) for plan in runs.left}
            time.sleep(LOOK_AGAIN)
        if jobs is not None:
            asked("scancel", f"--name={jobs.name}", "--state=PENDING")  # those for which no run is left
        return {}

    def cancel(self) -> None:
        """Cancel the jobs and those that they have submitted.

        Raises:
            UserError: If Slurm refuses.
        """
        if self.submitted is not None:
            asked("scancel", f"--name={self.submitted.name}")


def jobs_of(name: str) -> dict[str, str]:
    """The states of the running and pending jobs with a name, by their ids.

    Raises:
        UserError: If Slurm does not report them.
    """
    lines = asked("squeue", "--noheader", "--array", f"--name={name}", "--format=%i %T").splitlines()
    return {words[0]: words[-1] for line in lines if (words := line.split())}
