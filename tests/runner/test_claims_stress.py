"""A hundred runs, eight workers, sixty of them killed or ended at random moments: nothing lost, nothing done twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from clsuite.cli.interruption import signals_interrupt
from clsuite.records import read_record
from clsuite.runner.bench import Sharing, run_missing, scan_results
from clsuite.runner.executor import InProcess
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import load_benchmark

RUNS, WORKERS, SIGNALS = 100, 8, 60
TINY = (
    "{name: tiny, dataset: {name: digits, train_per_class: 5, test_per_class: 3}, scenario: {tasks: 5}, "
    "limit_tasks: 2, training: {epochs: 1}, methods: {ncm: ncm, finetune: finetune}}"
)
HALVES = RUNS // 2


def drive(plans: Sequence[RunPlan], log: str, cache: str) -> None:
    """What a worker does: the runs that nobody has, in this process, writing down when each begins and ends."""
    os.environ["CLSUITE_CACHE"] = cache

    def note(plan: RunPlan, event: dict[str, Any]) -> None:
        if event["kind"] in ("start", "end"):
            line = f"{event['kind']} {os.getpid()} {plan.record_path.name} {event.get('status', '')}\n"
            handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, line.encode())
            os.close(handle)

    with suppress(KeyboardInterrupt), signals_interrupt():
        executor = InProcess("cpu", lambda plan, error: None)
        run_missing(scan_results(plans, lambda text: None), ["cpu"], None, note, executor, Sharing(stale_after=20))


@pytest.mark.nightly
def test_nothing_is_lost_and_nothing_done_twice(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    spec, path = load_benchmark(str(tmp_path / "tiny.yaml"))
    plans = make_plan(spec, path.parent, RunOptions(out=tmp_path / "runs", seeds=list(range(HALVES)), device="cpu"))
    assert len(plans) == RUNS
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clsuite.runner.worker"])
    log = tmp_path / "log"

    def start(plans: Sequence[RunPlan], log: Path) -> ForkServerProcess:
        process = context.Process(target=drive, args=(plans, str(log), os.environ["CLSUITE_CACHE"]))
        process.start()
        return process

    undisturbed = [replace(plan, record_path=tmp_path / "alone" / plan.record_path.parent.name / plan.record_path.name)
                   for plan in plans]  # fmt: skip
    quiet = start(undisturbed, tmp_path / "quiet")
    quiet.join()
    workers, ended, chance = [start(plans, log) for _ in range(WORKERS)], set[int](), random.Random(0)
    for number in range(SIGNALS):
        time.sleep(chance.uniform(0.0, 0.5))
        end = time.monotonic() + 5
        while number % 2 and time.monotonic() < end and not any(worker.pid in at_work(log) for worker in workers):
            time.sleep(0.01)  # half of them at any moment, half in the middle of a run
        alive = [worker for worker in workers if worker.is_alive()] or workers
        victim = chance.choice([worker for worker in alive if worker.pid in at_work(log)] or alive)
        ended.add(int(victim.pid or 0))
        os.kill(int(victim.pid or 0), chance.choice([signal.SIGKILL, signal.SIGTERM])) if victim.is_alive() else None
        victim.join()
        workers[workers.index(victim)] = start(plans, log)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    alone = {plan.record_path.name: read_record(plan.record_path) for plan in undisturbed}
    for plan in plans:
        record = read_record(plan.record_path)
        assert (record.status, record.counts) == ("done", alone[plan.record_path.name].counts)
    assert [file for file in (tmp_path / "runs").rglob("*") if "claim" in file.name] == []
    check_log(log.read_text(), ended)


def at_work(log: Path) -> set[int]:
    """The workers that have begun a run and not ended it."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return {int(pid) for pid, number in Counter(line[1] for line in lines).items() if number % 2}


def check_log(text: str, ended: set[int]) -> None:
    """See that no run was begun after it was done, and none was begun again but where the one before was ended."""
    done, open_runs, again = set[str](), dict[str, int](), Counter[str]()
    for line in text.splitlines():
        kind, pid, run, *status = line.split()
        if kind == "start":
            assert run not in done, f"{run} was done twice"
            if run in open_runs:
                assert open_runs[run] in ended, f"{run} was taken from one that was alive"
                again[run] += 1
            open_runs[run] = int(pid)
        elif status == ["done"]:
            done.add(run)
            assert open_runs.pop(run) == int(pid)
    assert again.total() > 0  # else none was hit in the middle
