"""Two workers on one folder against one: the same runs, planned once, each of one thread.

Each folder is planned by ``clsuite bench --plan-only`` and done by ``clsuite work --jobs 1``, once or twice at the same
time. A run that were done twice would be told by both.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LIMIT = 0.6
"""Share of one worker's time that two may take."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--benchmark", default="quickstart")
    parser.add_argument("--method", default="finetune")
    parser.add_argument("--runs", type=int, default=12, help="number of runs, each with a seed of its own")
    parser.add_argument("--epochs", type=int, default=15, help="epochs a task, so that a run takes about 20 s")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time the runs with one worker and with two.

    Raises:
        SystemExit: If a worker fails, or a run is done twice or not at all.
    """
    seconds = {number: _seconds(number, arguments) for number in (1, 2)}
    share = seconds[2] / seconds[1]
    print(f"{arguments.runs} runs: one worker {seconds[1]:.0f} s ({seconds[1] / arguments.runs:.1f} s a run), "
          f"two {seconds[2]:.0f} s: {share:.3f} (at most {LIMIT})")  # fmt: skip
    return {"runs": arguments.runs, "seconds": seconds, "share": share, "limit": LIMIT}


def _seconds(workers: int, arguments: argparse.Namespace) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    clsuite = [sys.executable, "-m", "clsuite"]
    with TemporaryDirectory(dir=arguments.scratch) as folder:
        seeds = ",".join(str(seed) for seed in range(arguments.runs))
        options = {"methods": arguments.method, "seeds": seeds, "epochs": arguments.epochs, "training": "threads=1",
                   "device": "cpu", "out": folder}  # fmt: skip
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        plan = [*clsuite, "bench", arguments.benchmark, *words, "--plan-only"]
        subprocess.run(plan, env=environment, capture_output=True, text=True, check=True)
        started = time.perf_counter()
        work = [*clsuite, "work", folder, "--jobs", "1", "--device", "cpu"]
        at_work = [
            subprocess.Popen(work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(workers)
        ]
        told = [process.communicate()[0] for process in at_work]
        seconds = time.perf_counter() - started
        if any(process.returncode for process in at_work):
            raise SystemExit("\n".join(told))
        done = sum(len(re.findall(r": done in \d", text)) for text in told)
        records = len(list(Path(folder).rglob("seed*.json")))
    if (done, records) != (arguments.runs, arguments.runs):
        raise SystemExit(f"{arguments.runs} runs were planned, {done} were done and {records} have a record:\n{told}")
    return seconds
