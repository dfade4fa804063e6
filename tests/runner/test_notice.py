"""A run that saves within its tasks does so when it is told to end, and goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.records import RunRecord, read_record

FILE: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"name": "digits", "train_per_class": 8, "test_per_class": 4},
    "scenario": {"tasks": 5},
    "limit_tasks": 1,
    "training": {"epochs": 20, "batch_size": 4, "checkpoint_minutes": 60},
    "seeds": [0],
    "methods": {"slow": "./slow.py"},
}
PLUGIN = '''
from time import sleep

from clsuite.plugin import Plugin


class Slow(Plugin):
    """Waits after each batch, and says that it has been there."""

    def on_train_batch_end(self, *_):
        """Wait."""
        with open("steps.txt", "a") as opened:
            opened.write("step\\n")
        sleep({seconds})
'''
WORDS = ["bench", "tiny.yaml", "--device", "cpu"]
STEPS = 80
"""Batches of the whole task."""


def steps(folder: Path) -> int:
    """Batches that were learned in all."""
    path = folder / "steps.txt"
    return path.read_text().count("step") if path.exists() else 0


def begin(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "clsuite", *WORDS],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def record(folder: Path) -> RunRecord:
    (path,) = folder.glob("runs/tiny/slow/seed*.json")
    return read_record(path)


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_what_is_learned_of_a_task_is_kept(
    whole_group: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(FILE))
    (tmp_path / "slow.py").write_text(PLUGIN.replace("{seconds}", "0.05"))
    process = begin(tmp_path)
    end = time.monotonic() + 200
    while steps(tmp_path) < 5 and time.monotonic() < end:
        time.sleep(0.1)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 143, out
    assert record(tmp_path).status == "interrupted"
    assert len(list(tmp_path.glob("runs/tiny/slow/*.task.ckpt"))) == 1
    first = steps(tmp_path)
    assert 5 <= first < STEPS
    monkeypatch.chdir(tmp_path)
    assert main(WORDS) == 0, capsys.readouterr()
    assert record(tmp_path).status == "done"
    assert record(tmp_path).tasks[0].steps == steps(tmp_path) == STEPS
    assert not list(tmp_path.glob("runs/tiny/slow/*.ckpt"))
