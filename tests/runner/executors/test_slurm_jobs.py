"""Jobs of Slurm without one: what is asked of it, and what a job does when it must end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.runner.executors import slurm_job
from clsuite.runner.executors.slurm import Submitted
from clsuite.runner.executors.slurm_job import SlurmWorker, minutes_of, parameters
from clsuite.runner.executors.spec import SlurmExecutor


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("60", 60), ("90:30", 91), ("4:00:00", 240), ("1:30:01", 91), ("2-0", 2880), ("1-12:30", 2190), ("0-1:0:0", 60)],
)
def test_times_are_read_as_slurm_reads_them(time: str, minutes: int) -> None:
    if time != "0-1:0:0":
        assert SlurmExecutor(time=time).time == time
    assert minutes_of(time) == minutes


def test_what_slurm_is_asked_for() -> None:
    settings = SlurmExecutor(partition="gpu", gpus=2, cpus=8, memory=1.5, time="2:00:00", setup=("module load x",),
                             sbatch={"exclude": "node7", "exclusive": True, "overcommit": False})  # fmt: skip
    asked = parameters(settings, "clsuite-mine", 3)
    assert asked == {
        "partition": "gpu", "gpus_per_node": 2, "job_name": "clsuite-mine", "time": 120, "cpus_per_task": 8,
        "srun_args": ["--cpus-per-task=8"], "setup": ["module load x"], "signal_delay_s": 120,
        "stderr_to_stdout": True, "array_parallelism": 3,
        "additional_parameters": {"requeue": True, "mem": "1536M", "exclude": "node7", "exclusive": True},
    }  # fmt: skip
    with pytest.raises(UserError, match="a job would have to end at once"):
        parameters(SlurmExecutor(time="2"), "clsuite-mine", 3)


def test_submitit_takes_what_it_is_given(tmp_path: Path) -> None:
    submitit = slurm_job.import_submitit()
    from submitit.slurm.slurm import _make_sbatch_string

    text = _make_sbatch_string("work", tmp_path, **parameters(SlurmExecutor(notice=30), "mine", 2), map_count=2)
    for line in ("--array=0-1%2", "--signal=USR1@30", "--requeue", "--open-mode=append", "--time=60"):
        assert f"#SBATCH {line}" in text
    assert submitit.__version__


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmWorker:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    return SlurmWorker(SlurmExecutor(attempts=3), "clsuite-mine", tmp_path / "slurm", (), {}, 1.0)


@pytest.mark.parametrize(
    ("told", "number", "attempt", "outcome", "asked"),
    [
        ("Restarts=1 PreemptTime=None", signal.SIGTERM, 1, "preempted: Slurm begins it again", []),
        ("Restarts=0 PreemptTime=2026-11-29T08:13:06", signal.SIGTERM, 1, "preempted: submitted again as job 13", [2]),
        ("Restarts=0 PreemptTime=None", signal.SIGTERM, 1, "cancelled", []),
        ("Restarts=0 PreemptTime=None", signal.SIGUSR1, 1, "its time is over: requeued", ["requeue"]),
        ("Restarts=0 PreemptTime=None", signal.SIGUSR1, 3, "not submitted again: this was attempt 3 of 3", []),
        ("fixed", signal.SIGUSR1, 2, "its time is over: submitted again as job 13", ["requeue", 3]),
        ("gone", signal.SIGTERM, 1, "cancelled", []),
    ],
)
def test_a_job_that_must_end_is_begun_again_in_the_way_that_there_is(
    told: str, number: int, attempt: int, outcome: str, asked: list[object], job: SlurmWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    done: list[object] = []

    def ask(*command: str) -> str:
        if command[1] == "requeue":
            done.append("requeue")
            if told == "fixed":
                raise UserError("Requested operation is presently disabled")
        elif told == "gone":
            raise UserError("no such job")
        return f"JobId=12 {told}\n"

    def submit(workers: list[SlurmWorker]) -> list[str]:
        done.extend(worker.attempt for worker in workers)
        return ["13"]

    monkeypatch.setattr(slurm_job, "asked", ask)
    monkeypatch.setattr(slurm_job, "submit", submit)
    assert job._begin_again(number, 0, attempt) == outcome
    assert done == asked


@pytest.mark.slow
def test_a_notice_ends_the_work_and_comes_to_it_as_sigterm(tmp_path: Path) -> None:
    """In a process of its own, as pytest's must keep its signals."""
    work = "import signal, time, sys; signal.signal(15, lambda *_: sys.exit(7)); print('at work', flush=True); time.sleep(60)"  # noqa: E501
    script = f"""
import os, signal, sys, threading
from clsuite.runner.executors.slurm_job import _Notice
threading.Timer(2, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
with _Notice() as notice:
    status = notice.run([sys.executable, "-c", {work!r}])
    print(status, notice.given == [signal.SIGUSR1], notice.run(["false"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n") == ["at work", "7 True 0", ""], done.stderr


def test_the_work_is_begun_with_the_files_of_the_call(
    tmp_path: Path, job: SlurmWorker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    class Notice(slurm_job._Notice):
        def run(self, command: Any) -> int:
            folder = Path(command[-1].removeprefix("--plugins-from="))
            seen.append((command[2:7], {path.name: path.read_text() for path in folder.rglob("*.py")}))
            return 1

    monkeypatch.setattr(slurm_job, "_Notice", Notice)
    before = {number: signal.getsignal(number) for number in slurm_job.NOTICES}
    worker = SlurmWorker(job.settings, job.name, job.logs, ("runs", "--jobs=2"), {"x": {"mine.py": "A = 1"}}, 1.0)
    try:
        assert worker() == 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert seen == [(["-m", "clsuite", "work", "runs", "--jobs=2"], {"mine.py": "A = 1"})]
    assert "attempt 1 of 3" in capsys.readouterr().out


def test_without_slurm_one_line_says_so(job: SlurmWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    with pytest.raises(UserError, match="there is no Slurm here: its command srun is not found"):
        slurm_job.submit([job])
    with pytest.raises(UserError, match="squeue: "):
        slurm_job.asked("squeue")


def test_submitted_jobs_are_told_with_how_to_see_and_end_them(tmp_path: Path) -> None:
    told = str(Submitted("clsuite-mine", ["4_0", "4_1"], tmp_path))
    assert told.startswith("submitted to Slurm: 4_[0-1] (squeue --name=clsuite-mine; scancel --name=clsuite-mine; ")
    assert str(Submitted("clsuite-mine", ["4"], tmp_path)).startswith("submitted to Slurm: 4 (")
