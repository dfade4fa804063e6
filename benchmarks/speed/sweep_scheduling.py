"""What it costs to have a run done that does nothing: claimed, begun in a process of its own, recorded, given back.

Starting the executor is part of the time: its processes with the libraries loaded, and for Ray the cluster. What a run
does here, in place of learning, is to write its record.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from clsuite.records import write_record
from clsuite.runner.executor import Executor
from clsuite.runner.executors.spec import RayExecutor
from clsuite.runner.options import BenchOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.pool import Pool
from clsuite.runner.shared_runs import SharedRuns
from clsuite.runner.spec import load_benchmark

LIMITS = {"local": 60.0, "ray": 250.0}
"""Milliseconds that a run may cost."""


def do_nothing(plan: RunPlan, connection: Connection) -> None:
    """What the process of a run does here."""
    from clsuite.runner.worker import become_worker

    become_worker(connection)
    write_record(plan.pending.model_copy(update={"status": "failed", "error": "nothing was done"}), plan.record_path)
    connection.send({"kind": "end", "status": "failed"})


def plans_of_nothing(folder: Path, number: int) -> Iterator[RunPlan]:
    """So many runs of the quickstart, of which none is ever learned."""
    spec, path = load_benchmark("quickstart")
    options = BenchOptions(out=folder, methods=("ncm",), seeds=(0,), device="cpu")
    (plan,) = make_plan(spec, path.parent, options)
    for seed in range(number):
        pending = plan.pending.model_copy(update={"seed": seed})
        yield replace(plan, pending=pending, record_path=plan.record_path.with_name(f"seed{seed}.json"))


def executor_of(name: str, jobs: int) -> Executor:
    """The executor, so many runs at a time."""
    if name == "local":
        return Pool(["cpu"] * jobs, entry=do_nothing)
    from clsuite.runner.executors.ray_cluster import RayCluster

    return RayCluster(RayExecutor(), BenchOptions(jobs=jobs, device="cpu"), threads=1, entry=do_nothing)


def milliseconds(name: str, number: int, jobs: int, scratch: Path | None) -> float:
    """What a run costs with an executor."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        plans = list(plans_of_nothing(Path(folder), number))
        started = time.perf_counter()
        with SharedRuns(plans) as runs:
            executor_of(name, jobs).run(runs, lambda plan, event: None, {})
        seconds = time.perf_counter() - started
        done = len(list(plans[0].record_path.parent.glob("seed*.json")))
    assert done == number, f"{done} of {number} runs left a record"
    return 1000 * seconds / number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a run costs with each executor, told line by line; milliseconds by name."""
    costs = {}
    for name, limit in LIMITS.items():
        costs[name] = milliseconds(name, arguments.runs, arguments.jobs, arguments.scratch)
        print(f"{name}: {costs[name]:.1f} ms for each of {arguments.runs} runs (at most {limit:.0f})", flush=True)
    return {"runs": arguments.runs, "milliseconds": costs, "limits": LIMITS}
