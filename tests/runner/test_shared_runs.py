"""Several processes on one folder: each run is one's to do, and all hear of what the others did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import clsuite
from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.records import read_record, write_record
from clsuite.runner.bench import BenchStatus, run_missing, scan_results
from clsuite.runner.claims import claim_path, holder_of
from clsuite.runner.manifest import find_manifests
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, failed_record, make_plan
from clsuite.runner.shared_runs import LOOK_AGAIN, SharedRuns
from clsuite.runner.spec import load_benchmark

TINY: dict[str, Any] = {
    "name": "tiny", "dataset": {"name": "digits", "train_per_class": 5, "test_per_class": 3},
    "scenario": {"tasks": 5}, "limit_tasks": 2, "training": {"epochs": 1}, "seeds": [0, 1], "methods": {"ncm": "ncm"},
}  # fmt: skip
NOTED = '''
import os, time
from pathlib import Path
from clsuite.plugin import Plugin


class Noted(Plugin):
    """Writes down that it begins, and takes its time."""
    def __init__(self, seconds: float = 0.3, poisoned: bool = False):
        self.seconds, self.poisoned = seconds, poisoned
    def on_task_start(self, learner, task):
        if task.index == 0:
            with Path(__file__).with_name("begun").open("a") as opened:
                print(os.getpid(), self.seconds, learner.seed, file=opened)
        if self.poisoned:
            os.kill(os.getpid(), 11)
        time.sleep(self.seconds)
'''


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "noted.py").write_text(NOTED)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture
def plans(tiny: Path, tmp_path: Path) -> list[RunPlan]:
    spec, path = load_benchmark(str(tiny))
    return make_plan(spec, path.parent, RunOptions(out=tmp_path / "runs"))


def begun(tiny: Path) -> list[str]:
    """The runs that have begun, once for each time."""
    path = tiny.with_name("begun")
    return [line.partition(" ")[2] for line in path.read_text().splitlines()] if path.exists() else []


SLOW_SIGNALS = [pytest.param(number, marks=pytest.mark.nightly) for number in (signal.SIGINT, signal.SIGHUP)]


def heed_hangups() -> None:
    """Take back what a ``nohup`` around these tests has processes ignore."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def fail(plan: RunPlan) -> None:
    write_record(failed_record(plan, "failed", "for a test", 0.0), plan.record_path)


def until(true: Callable[[], bool], seconds: float = 200) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_runs_are_divided_and_heard_of(plans: list[RunPlan]) -> None:
    with SharedRuns(plans) as one, SharedRuns(plans) as other:
        first, second = one.take(), other.take()
        assert first is not None
        assert second is not None
        assert {first.name, second.name} == {plan.name for plan in plans}
        assert one.take() is None
        assert one.news()[0][1]["kind"] == "claimed"
        assert not one.is_over
        fail(second)
        other.give_back(second)
        one.look()
        assert one.news() == [(second, {"kind": "elsewhere", "status": "failed"})]
        assert one.is_over
        fail(first)
        one.give_back(first)
        time.sleep(LOOK_AGAIN)
        assert other.take() is None
        assert other.is_over
    assert not claim_path(first.record_path).exists()


def test_one_that_was_interrupted_is_taken_up_by_another(plans: list[RunPlan]) -> None:
    with SharedRuns(plans[:1]) as one, SharedRuns(plans[:1]) as other:
        taken = one.take()
        assert taken is not None
        assert other.take() is None
        write_record(taken.pending, taken.record_path)
        one.give_back(taken)
        assert one.is_over
        time.sleep(LOOK_AGAIN)
        assert other.take() == taken


def test_a_run_that_failed_before_the_call_is_done_again_and_one_that_failed_since_is_not(plans: list[RunPlan]) -> None:
    fail(plans[0])
    with SharedRuns(plans) as runs:
        fail(plans[1])
        assert [plan.name for plan in runs.left] == [plan.name for plan in plans]
        assert runs.take() == plans[0]
        assert runs.take() is None
        assert runs.is_over


def test_who_does_not_wait_has_none_left_when_others_have_the_rest(plans: list[RunPlan]) -> None:
    with SharedRuns(plans) as one, SharedRuns(plans, wait=False) as other:
        assert one.take() is not None
        assert other.take() is not None
        assert other.take() is None
        assert other.is_over


def test_one_that_is_to_be_done_again_is_free_for_all(plans: list[RunPlan]) -> None:
    with SharedRuns(plans) as one, SharedRuns(plans[:1]) as other:
        taken = one.take()
        assert taken is not None
        one.give_back(taken, again=True)
        assert one.left[0] == taken
        assert other.take() == taken


@pytest.mark.slow
def test_two_calls_divide_the_runs_and_both_have_all(tiny: Path, tmp_path: Path) -> None:
    """Of ten methods one crashes: nine are done, each once."""
    methods = [*(f"./noted.py(seconds=0.0{part})" for part in range(1, 10)), "./noted.py(poisoned=True)"]
    found: list[list[str]] = []

    def call() -> None:
        results = clsuite.bench(str(tiny), methods, [0], progress=False, partial=True, out=tmp_path / "runs", jobs=1)
        found.append(sorted(f"{result.record.method} {result.record.seed}" for result in results))

    callers = [threading.Thread(target=call) for _ in range(2)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert {str(one.message).split(" (see")[0][-25:] for one in told} == {"process was ended by SIGSEGV"[-25:]}
    assert found[0] == found[1]
    assert len(found[0]) == 9
    assert len(begun(tiny)) == len(set(begun(tiny))) == 10
    assert [path.suffix for path in (tmp_path / "runs").rglob("*") if "claim" in path.name] == []
    assert len(find_manifests(tmp_path / "runs")) == 1  # some run is not done: it can be tried again


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, *SLOW_SIGNALS])
def test_a_signal_to_a_run_interrupts_it_and_the_next_call_goes_on(
    tiny: Path, tmp_path: Path, number: signal.Signals
) -> None:
    spec, path = load_benchmark(str(tiny))
    options = RunOptions(out=tmp_path / "runs", methods=["./noted.py(seconds=2)"], seeds=[0])
    standing = BenchStatus(make_plan(spec, path.parent, options), {})
    (record_path,) = (plan.record_path for plan in standing.plans)

    def stop() -> None:
        until(lambda: bool(begun(tiny)))
        os.kill(int(tiny.with_name("begun").read_text().split()[0]), number)

    thread = threading.Thread(target=stop)
    thread.start()
    ended: list[str] = []
    outcomes = run_missing(standing, ["cpu"], None, lambda plan, event: ended.append(event.get("status", "")))
    thread.join()
    assert outcomes[record_path].status == read_record(record_path).status == "interrupted"
    assert ended[-1] == "interrupted"
    assert holder_of(record_path) is None
    again = scan_results(standing.plans, print)
    assert run_missing(again, ["cpu"], None, lambda plan, event: None)[record_path].status == "done"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGHUP, marks=pytest.mark.nightly)])
def test_a_caller_that_ends_leaves_its_runs_to_the_next(tiny: Path, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "clsuite", "bench", str(tiny), "--methods", "./noted.py(seconds=3)", "--jobs", "1"]
    command += ["--out", str(tmp_path / "runs")]
    caller = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, preexec_fn=heed_hangups)
    until(lambda: bool(begun(tiny)))
    caller.send_signal(number)
    caller.wait()
    (manifest,) = find_manifests(tmp_path / "runs")
    statuses = [read_record(path).status for path in (tmp_path / "runs").rglob("seed*.json")]
    assert statuses == ([] if number == signal.SIGKILL else ["interrupted"])
    started = time.monotonic()
    helped = ["work", str(tmp_path / "runs"), "--plugins-from", str(tmp_path), "--jobs", "2", "--stale-after", "900"]
    assert main(helped) == 0
    assert time.monotonic() - started < 300  # what a process of this machine held is not waited for
    assert [read_record(path).status for path in (tmp_path / "runs").rglob("seed*.json")] == ["done", "done"]
    assert not manifest.exists()


@pytest.mark.slow
def test_a_run_that_was_taken_over_is_ended_here(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, path = load_benchmark(str(tiny))
    options = RunOptions(out=tmp_path / "runs", methods=["./noted.py(seconds=5)"], seeds=[0])
    plans = make_plan(spec, path.parent, options)
    heard: list[dict[str, Any]] = []

    def hear(plan: RunPlan, event: dict[str, Any]) -> None:
        heard.append(event)
        if event["kind"] == "start":
            holder = holder_of(plan.record_path)
            assert holder is not None
            other = claim_path(plan.record_path).with_name(f"{claim_path(plan.record_path).name}.{holder.token}")
            other.write_text('{"token": "0123456789abcdef", "host": "node7", "pid": 4}')
        if event["kind"] == "claimed":
            fail(plan)

    outcomes = run_missing(BenchStatus(plans, {}), ["cpu"], None, hear)
    assert [event["kind"] for event in heard if event["kind"] != "progress"] == [
        "start", "warning", "claimed", "elsewhere"
    ]  # fmt: skip
    assert heard[-2]["by"] == "node7, process 4"
    assert outcomes[plans[0].record_path].error == "for a test"


def test_an_option_of_claims_that_cannot_be_is_refused(tiny: Path) -> None:
    with pytest.raises(UserError, match="stale_after"):
        clsuite.bench(str(tiny), stale_after=0)


def test_a_run_that_was_taken_over_and_done_is_not_done_again(plans: list[RunPlan]) -> None:
    """This machine slept; another one has done the run, and given it back, before this one wakes."""
    with SharedRuns(plans[:1]) as ours:
        plan = ours.take()
        assert plan is not None
        write_record(plan.pending.model_copy(update={"status": "failed", "error": "E"}), plan.record_path)
        ours.give_back(plan, again=True)
        assert ours.take() is None
        assert ours.is_over
        assert ours.news() == [(plan, {"kind": "elsewhere", "status": "failed"})]
