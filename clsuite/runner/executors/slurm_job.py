"""A Slurm job: it works on a folder as long as runs are left, and is submitted again when its time ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from clsuite.errors import UserError
from clsuite.interpreters import PYTHON
from clsuite.runner.executors.spec import SlurmExecutor
from clsuite.runner.manifest import find_manifests, write_texts

SLACK = 5.0
"""Additional seconds after the time at which a silent claim may be taken over."""
NOTICES = (signal.SIGTERM, signal.SIGUSR1)
"""The signals that Slurm sends when a job is preempted or canceled, and before its time limit."""
ASKED = 60.0
"""Timeout of Slurm's commands, in seconds."""


def import_submitit() -> Any:
    """Import submitit, with SIGUSR1 as the signal before a job's time limit.

    Raises:
        UserError: If it is not installed.
    """
    os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    try:
        import submitit
    except ImportError as error:
        raise UserError("the executor 'slurm' needs submitit: pip install \"clsuite[slurm]\"") from error
    return submitit


@dataclass(frozen=True)
class SlurmWorker:
    """A job of the array.

    Attributes:
        settings: The options of the jobs.
        name: The name that all jobs of a call have.
        logs: The folder of their logs.
        arguments: The arguments of ``clsuite work``.
        texts: The files of plugins at the time of the call, by folder; only these are used.
        stale_after: Seconds without a heartbeat after which a claim may be taken over.
        attempt: Number of jobs that were submitted for this part of the array, including this one.
    """

    settings: SlurmExecutor
    name: str
    logs: Path
    arguments: tuple[str, ...]
    texts: Mapping[str, Mapping[str, str]]
    stale_after: float
    attempt: int = 1

    def __call__(self) -> int:
        """Do the work; returns the exit status of ``clsuite work``."""
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
        attempt = self.attempt + restarts
        print(f"attempt {attempt} of {self.settings.attempts}, on {socket.gethostname()}", flush=True)
        with TemporaryDirectory(prefix="clsuite-job-") as folder, _Notice() as notice:
            places = write_texts(self.texts, Path(folder))
            command = [*PYTHON, "-m", "clsuite", "work", *self.arguments, "--no-wait"]
            command += [f"--plugins-from={place}" for place in places]
            status = notice.run(command)
            left = find_manifests(self.logs.parent)
            if (
                attempt > 1 and left and not notice.given
            ):  # an earlier job may have left a claim that still looks active
                notice.sleep(self.stale_after + SLACK)
                status = notice.run(command)
        if notice.given:
            print(self._begin_again(notice.given[0], restarts, attempt), flush=True)
        return status

    def _begin_again(self, number: int, restarts: int, attempt: int) -> str:
        """Let Slurm restart the work, unless it does so itself or the job was canceled; returns what happens."""
        job_fields = _job_fields()
        if int(job_fields.get("Restarts", 0)) > restarts:
            return "preempted: Slurm begins it again"
        preempted = job_fields.get("PreemptTime", "None") != "None"
        if number == signal.SIGTERM and not preempted:
            return "cancelled"
        if attempt >= self.settings.attempts:
            return f"not submitted again: this was attempt {attempt} of {self.settings.attempts}"
        if not preempted and _requeue():
            return "its time is over: requeued"
        ids = submit([replace(self, attempt=attempt + 1)])
        return f"{'preempted' if preempted else 'its time is over'}: submitted again as job {ids[0]}"


class _Notice:
    """Receives Slurm's signals and forwards them to the work."""

    def __init__(self) -> None:
        """Create an object that has received no signal."""
        self.given: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Notice:
        """Install the signal handlers."""
        for number in NOTICES:
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: Any) -> None:
        """Keep the signal handlers, so that the job is not ended before it is submitted again."""

    def run(self, command: Sequence[str]) -> int:
        """Run a command to its end, which a signal can cause; returns its exit status."""
        if self.given:
            return 0
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the command receives only SIGTERM
        self._process = subprocess.Popen(command)
        signal.signal(signal.SIGUSR1, self._on_signal)
        if self.given:
            self._process.terminate()
        return self._process.wait()

    def sleep(self, seconds: float) -> None:
        """Wait for some time, or until a signal arrives."""
        end = time.monotonic() + seconds
        while not self.given and time.monotonic() < end:
            time.sleep(1)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.given.append(number)
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


def submit(workers: Sequence[SlurmWorker]) -> list[str]:
    """Submit jobs as an array.

    Args:
        workers: The work of each job.

    Returns:
        The ids of the jobs.

    Raises:
        UserError: If Slurm refuses them, or is not available.
    """
    submitit = import_submitit()
    first = workers[0]
    try:
        executor = submitit.SlurmExecutor(folder=first.logs)
        executor.update_parameters(**parameters(first.settings, first.name, len(workers)))
        with _outside_of_jobs(submitit), executor.batch():
            jobs = [executor.submit(worker) for worker in workers]
    except RuntimeError as error:  # including submitit's own errors
        raise UserError("there is no Slurm here: its command srun is not found") from error
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"Slurm refuses the jobs: {_last_line(str(error))}") from error
    return [job.job_id for job in jobs]


def parameters(settings: SlurmExecutor, name: str, jobs: int) -> dict[str, Any]:
    """The options of the jobs for submitit.

    Raises:
        UserError: If the time limit of a job is shorter than the notice before it.
    """
    minutes = minutes_of(settings.time)
    if 60 * minutes <= settings.notice:
        raise UserError(
            f"the executor's time is {settings.time} ({minutes} minutes), and its notice {settings.notice} s: a job "
            "would have to end at once. Give more time, or less notice"
        )
    more = {key: value for key, value in settings.sbatch.items() if value is not False}
    memory = {"mem": f"{round(1024 * settings.memory)}M"} if settings.memory else {}
    chosen = {key: getattr(settings, key) for key in ("partition", "account", "qos", "constraint")}
    cpus = settings.cpus or 1
    return {
        **{key: value for key, value in chosen.items() if value is not None},
        **({"gpus_per_node": settings.gpus} if settings.gpus else {}),
        "job_name": name,
        "time": minutes,
        "cpus_per_task": cpus,
        "srun_args": [f"--cpus-per-task={cpus}"],  # srun does not inherit it from the job
        "setup": list(settings.setup),
        "signal_delay_s": settings.notice,
        "stderr_to_stdout": True,
        "array_parallelism": jobs,
        "additional_parameters": {"requeue": True, **memory, **more},
    }


def minutes_of(time: str) -> int:
    """A time in Slurm's format, in whole minutes."""
    days, _, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if days:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, [*parts, 0][:2]
    return (int(days or 0) * 24 + hours) * 60 + minutes + (seconds > 0)


@contextmanager
def _outside_of_jobs(submitit: Any) -> Iterator[None]:
    """Hide Slurm's variables of this job from the jobs that it submits, except those that locate Slurm."""
    where = {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}
    with submitit.helpers.clean_env():
        os.environ.update(where)
        yield


def _job_fields() -> dict[str, str]:
    """Slurm's description of this job."""
    try:
        text = asked("scontrol", "show", "job", "--oneliner", os.environ["SLURM_JOB_ID"])
    except UserError:
        return {}
    return {name: value for name, _, value in (word.partition("=") for word in text.split())}


def _requeue() -> bool:
    """Let Slurm requeue this job; returns whether it does."""
    try:
        asked("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
    except UserError as error:
        print(error, flush=True)
        return False
    return True


def asked(*command: str) -> str:
    """The output of a Slurm command.

    Raises:
        UserError: If it fails, or does not exist.
    """
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=ASKED).stdout
    except subprocess.CalledProcessError as error:
        raise UserError(f"{command[0]}: {_last_line(error.stderr)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{command[0]}: {error}") from error


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
