"""The sweeps of these tests, and the folder in which clsuite is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from clsuite.records import RunRecord, read_record

FILE = {
    "dataset": {"name": "digits", "train_per_class": 8},
    "scenario": {"tasks": 5},
    "limit_tasks": 2,
    "training": {"epochs": 2, "batch_size": 8},
}
METHODS = {
    "finetune": "finetune",
    "replay": "replay",
    "lora": {"pet": {"kind": "lora"}},
    "ncm": "ncm",
    "lae": {"lae": {"blocks": "0-1"}},
    "slca": "slca",
}
SIX = {**FILE, "name": "six", "seeds": [0], "methods": METHODS}
LONGER = {"training": {"epochs": 8, "batch_size": 8}}
SLOW = {**FILE, **LONGER, "name": "slow", "seeds": [0, 1, 2, 3], "methods": {"slow": "./slow.py"}}
PLUGIN = '''
"""Finetuning that takes its time, so that a run can be caught in the middle."""
from time import sleep

from clsuite.plugin import Plugin
from pace import SECONDS


class Slow(Plugin):
    """Finetuning, slowly."""

    def on_train_batch_end(self, *_):
        """Wait."""
        sleep(SECONDS)
'''
LONGEST = 240
"""Seconds that a sweep may take."""


class Folder:
    """A folder with the benchmarks, in which clsuite is called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for content in (SIX, SLOW):
            (path / f"{content['name']}.yaml").write_text(yaml.safe_dump(content))
        (path / "slow.py").write_text(PLUGIN)
        (path / "pace.py").write_text('import os\n\nSECONDS = float(os.environ.get("PACE", "0.2"))\n')

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Call clsuite."""
        command = [sys.executable, "-m", "clsuite", *words]
        log = (self.path / "out.txt").open("a")
        return subprocess.Popen(command, cwd=self.path, text=True, stdout=log, stderr=subprocess.STDOUT)

    def call(self, *words: str) -> str:
        """Call clsuite to its end; returns what it printed."""
        (self.path / "out.txt").unlink(missing_ok=True)
        process = self.start(*words)
        try:
            status = process.wait(timeout=LONGEST)
        finally:
            if process.poll() is None:
                process.terminate()
        assert status == 0, self.printed
        return self.printed

    @property
    def printed(self) -> str:
        """What was printed so far."""
        return (self.path / "out.txt").read_text()

    def records(self, name: str) -> dict[str, RunRecord]:
        """The records of a benchmark by their names."""
        return {path.name: read_record(path) for path in (self.path / "runs" / name).glob("*/seed*.json")}

    def beside(self, name: str, pattern: str) -> list[Path]:
        """Files beside the records."""
        return list((self.path / "runs" / name).glob(f"*/{pattern}"))


def results(records: dict[str, RunRecord]) -> dict[str, Any]:
    """What must be equal wherever the runs were done: their keys and counts."""
    return {name: (one.key, one.status, one.counts) for name, one in records.items()}
