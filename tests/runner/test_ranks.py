"""`clsuite bench --devices 2`: one record, with the counts of one process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.runner import ranks
from clsuite.runner.devices import device_slots
from clsuite.runner.ranks import device_of

SHORT = ("quickstart", "--seeds", "0", "--limit-tasks", "2", "--epochs", "1", "--device", "cpu", "--jobs", "1")
ENDS = """from clsuite.plugin import Plugin


class Ends(Plugin):
    '''Ends the second process.'''

    def on_task_start(self, learner, task):
        if learner.together is not None and learner.together.rank == 1:
            raise ValueError("the second one has had enough")
"""


def records(folder: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(path.read_text()) for path in sorted(folder.glob("quickstart/*/seed0-*.json"))]


@pytest.mark.slow
def test_a_run_of_two_processes_leaves_one_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its key is that of one process, for the result is the same but for rounding; where it was made says that."""
    for name, more in (("one", ()), ("two", ("--devices", "2"))):
        assert main(["bench", *SHORT, "--methods", "replay", "--out", str(tmp_path / name), *more]) == 0
    (one,), (two,) = records(tmp_path / "one"), records(tmp_path / "two")
    assert two["status"] == "done"
    assert two["key"] == one["key"]
    assert two["counts"] == one["counts"]
    assert two["environment"]["devices"] == 2
    assert "devices" not in one["environment"]
    assert not list((tmp_path / "two").rglob("*.ckpt"))


@pytest.mark.slow
def test_the_end_of_another_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ends.py").write_text(ENDS)
    assert main(["bench", *SHORT, "--methods", "./ends.py", "--out", "runs", "--devices", "2"]) == 1
    (record,) = records(Path("runs"))
    assert record["status"] == "failed"
    assert "process 1 of 2 that learn together ended with status 1" in record["error"]
    assert "the second one has had enough" in record["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--methods", "l2p(diversify=True, pool=4, top_k=2)", "--devices", "2"), "--devices takes batches apart"),
        (("--devices", "0"), "--devices"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *SHORT, *arguments]) == 2
    assert words in capsys.readouterr().err


def test_devices_follow_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [device_of(torch.device("cuda", 2), rank, 2) for rank in (0, 1)] == ["cuda:2", "cuda:3"]
    assert device_of(torch.device("cpu"), 1, 2) == "cpu"
    with pytest.raises(UserError, match="--devices is 3, but from 'cuda:2' on there are 2"):
        device_of(torch.device("cuda", 2), 0, 3)
    with pytest.raises(UserError, match="--devices is 2, but from 'mps' on there is 1"):
        device_of(torch.device("mps"), 0, 2)


def test_runs_at_a_time_share_no_device() -> None:
    assert device_slots("auto", None, 1, 4, cores=8, together=2) == ["cuda:0", "cuda:2"]
    assert device_slots("cuda", 3, 1, 4, cores=8, together=2) == ["cuda:0", "cuda:2", "cuda:0"]
    assert device_slots("auto", None, 1, 1, cores=8, together=2) == ["cuda:0"]
    assert device_slots("cpu", None, 1, 0, cores=8, together=2) == ["cpu"] * 4


def test_a_process_that_ends_before_it_learns_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "1.log").touch()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    with pytest.raises(RuntimeError, match="process 1 ended before it began to train"):
        ranks._await([ended], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("late", [pytest.param(False, marks=pytest.mark.nightly), True])
def test_a_process_ends_with_the_first_one(late: bool) -> None:
    """Also if the first has ended before the process looks for it."""
    code = "import os, sys; from clsuite.runner.rank_entry import _end_with; print(os.getpid(), flush=True); "
    code += "sys.stdin.read(); " * late + "_end_with(int(sys.argv[1]))"
    first = subprocess.Popen(
        ["bash", "-c", f"{sys.executable} -c '{code}' $$ <&0 & wait"],  # the shell is the first process here
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdin is not None
    assert first.stdout is not None
    other = psutil.Process(int(first.stdout.readline()))
    first.kill()
    first.wait()
    first.stdin.close()
    with suppress(psutil.NoSuchProcess):
        end = time.monotonic() + 60
        while other.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end
            time.sleep(0.1)
