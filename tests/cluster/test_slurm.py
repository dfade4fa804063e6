"""A real Slurm: whatever it does to the jobs, a sweep ends with the records and counts of an undisturbed one."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from slurm_engine import Slurm
from sweeps import LONGEST, Folder, results

pytestmark = pytest.mark.cluster


def submit(folder: Folder, *options: str) -> str:
    """Submit the slow sweep, and return the name of its jobs."""
    more = [word for option in ("workers=2", *options) for word in ("--executor-option", option)]
    printed = folder.call("bench", "slow.yaml", "--executor", "slurm", "--detach", "--stale-after", "5", *more)
    found = re.search(r"submitted to Slurm: \d+_\[0-1\] \(squeue --name=(\S+);", printed)
    assert found, printed
    return found[1]


def logs(folder: Folder) -> str:
    """What the jobs have printed."""
    return "\n".join(path.read_text() for path in sorted((folder.path / "runs" / "slow" / "slurm").glob("*.out")))


def until(done: Callable[[], object], folder: Folder) -> None:
    end = time.monotonic() + LONGEST
    while not done():
        assert time.monotonic() < end, logs(folder)
        time.sleep(0.3)


def begun(folder: Folder) -> bool:
    """Whether two runs are in their second task."""
    return len(folder.beside("slow", "*.ckpt")) == 2


def finish(folder: Folder, slurm: Slurm, name: str, undisturbed: dict[str, Any]) -> None:
    """See the sweep end with all that it must have."""
    until(lambda: not slurm.jobs(name), folder)
    assert results(folder.records("slow")) == undisturbed["slow"], logs(folder)
    assert not folder.beside("slow", "*.claim*")


def preempt(slurm: Slurm, folder: Path) -> None:
    """Take both nodes for a moment."""
    slurm("sbatch", "--partition=high", "--nodes=2", "--chdir", str(folder), "--output=/dev/null", "--wrap", "sleep 1")


def lengthened(slurm: Slurm, name: str) -> bool:
    """Whether all jobs have an hour now; one that just ends takes no other limit."""
    try:
        for job in slurm.jobs(name):
            slurm("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    except subprocess.CalledProcessError:
        return False
    return True


@pytest.mark.parametrize(
    ("partition", "told"), [("low", "preempted: Slurm begins it again"), ("lost", "preempted: submitted again as job")]
)
def test_preemption(partition: str, told: str, slurm: Slurm, folder: Folder, undisturbed: dict[str, Any]) -> None:
    name = submit(folder, f"partition={partition}")
    until(lambda: begun(folder), folder)
    preempt(slurm, folder.path)
    finish(folder, slurm, name, undisturbed)
    assert told in logs(folder)
    assert "attempt 2 of 20" in logs(folder)


def test_the_time_limit(
    slurm: Slurm, folder: Folder, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACE", "0.8")  # Slurm looks at limits twice a minute: the jobs must last longer
    name = submit(folder, "time=60", "notice=60")
    until(lambda: begun(folder), folder)
    for job in slurm.jobs(name):  # a minute in all, of which the notice takes the whole
        slurm("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    until(lambda: "its time is over: requeued" in logs(folder), folder)
    until(lambda: lengthened(slurm, name), folder)
    finish(folder, slurm, name, undisturbed)
    assert "attempt 2 of 20" in logs(folder)


def test_what_is_cancelled_stays_so_until_it_is_called_again(
    slurm: Slurm, folder: Folder, undisturbed: dict[str, Any]
) -> None:
    name = submit(folder)
    until(lambda: begun(folder), folder)
    slurm("scancel", f"--name={name}")
    until(lambda: not slurm.jobs(name), folder)
    assert "\ncancelled\n" in logs(folder)
    states = [one.status for one in folder.records("slow").values()]
    assert "interrupted" in states
    assert states.count("done") < 4
    assert "failed" not in states
    printed = folder.call("bench", "slow.yaml", "--executor", "slurm", "--executor-option", "workers=2")
    assert "done elsewhere" in printed
    assert results(folder.records("slow")) == undisturbed["slow"]


def test_a_node_that_is_drained_and_taken_away(slurm: Slurm, folder: Folder, undisturbed: dict[str, Any]) -> None:
    name = submit(folder)
    until(lambda: begun(folder), folder)
    slurm("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=test")
    slurm("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
    try:
        finish(folder, slurm, name, undisturbed)
    finally:
        slurm("scontrol", "update", "NodeName=n2", "State=RESUME")
    assert "attempt 2 of 20" in logs(folder)
