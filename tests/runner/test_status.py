"""How the runs of a folder stand: from records, claims and plans, at any moment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite.cli.partly import print_unfinished
from clsuite.cli.status import lines_of, words_for
from clsuite.records import RunRecord, read_record, record_text, write_record
from clsuite.records.entries import CostEntry, CountsEntry
from clsuite.runner.claims import Claims, claim_path
from clsuite.runner.manifest import find_manifests, write_manifest
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, failed_record, make_plan
from clsuite.runner.spec import load_benchmark
from clsuite.runner.status import folder_status

TINY = (
    "{name: tiny, dataset: {name: digits, train_per_class: 5, test_per_class: 3}, scenario: {tasks: 5}, "
    "limit_tasks: 2, training: {epochs: 1}, seeds: [0, 1, 2], methods: {ncm: ncm, replay: replay}}"
)


@pytest.fixture
def plans(tmp_path: Path) -> list[RunPlan]:
    (tmp_path / "tiny.yaml").write_text(TINY)
    spec, path = load_benchmark(str(tmp_path / "tiny.yaml"))
    return make_plan(spec, path.parent, RunOptions(out=tmp_path / "runs"))


def done(plan: RunPlan, seconds: float) -> RunRecord:
    """A record as of a finished run."""
    counts = CountsEntry(class_incremental=[[0], [1]], task_aware=[[0], [1]], n=[1])
    cost = CostEntry(peak_memory_bytes=1, total_parameters=1, trainable_parameters=1, stored_bytes={},
                     forward_flops_per_image=1, training_flops=1)  # fmt: skip
    return plan.pending.model_copy(update={"status": "done", "counts": counts, "cost": cost, "seconds": seconds})


def test_every_state_is_told(plans: list[RunPlan], tmp_path: Path) -> None:
    """Done, failed, interrupted, running, waiting; how long it took, and will take by what is known."""
    folder = tmp_path / "runs"
    write_manifest(folder / "tiny", plans)
    write_record(done(plans[0], 120), plans[0].record_path)
    write_record(failed_record(plans[1], "failed", "ValueError: no luck", 60.0), plans[1].record_path)
    write_record(plans[2].pending, plans[2].record_path)
    with Claims(stale_after=0.5) as claims:
        assert claims.take(plans[3].record_path)
        claims.report_progress(plans[3].record_path, {"task": 1, "tasks": 4, "done": 0.25})
        time.sleep(0.5)
        status = folder_status(folder)
    states = {run.name: run for run in status.runs.values()}
    assert [states[f"tiny: {plan.name}"].status for plan in plans] == [
        "done", "failed", "interrupted", "running", "waiting", "waiting",
    ]  # fmt: skip
    running = states[f"tiny: {plans[3].name}"]
    assert running.left == pytest.approx(3 * running.seconds)
    assert [states[f"tiny: {plans[number].name}"].left for number in (2, 4, 5)] == [120, 120, 120]
    lines = list(lines_of(status))
    assert lines[0] == "1 done, 1 running, 2 waiting, 1 interrupted, 1 failed"
    assert lines[1] == "3 min spent, 6 min to come: with 1 at a time about 6 min"
    assert re.fullmatch(
        rf"running: tiny: {plans[3].name}: on .+, process {os.getpid()}, for . s, task 2 of 4, about . s left", lines[2]
    )
    assert lines[3] == f"failed: tiny: {plans[1].name}: ValueError: no luck"


def test_a_run_whose_process_is_gone_waits(plans: list[RunPlan], tmp_path: Path) -> None:
    write_manifest(tmp_path / "runs" / "tiny", plans)
    claims = Claims()
    assert claims.take(plans[0].record_path)
    assert len(folder_status(tmp_path / "runs").of("running")) == 1
    then = time.time() - 1000
    os.utime(claim_path(plans[0].record_path), (then, then))
    assert folder_status(tmp_path / "runs").of("running") == []
    assert len(folder_status(tmp_path / "runs", stale_after=2000).of("running")) == 1
    assert len(folder_status(tmp_path / "runs").of("waiting")) == 6


def test_without_a_plan_and_with_records_of_another_hand(plans: list[RunPlan], tmp_path: Path) -> None:
    """A claim alone is a run; a record that is JSON in other lines is read too; what is none is passed over."""
    record = done(plans[0], 5)
    plans[0].record_path.parent.mkdir(parents=True)
    plans[0].record_path.write_text(record.model_dump_json())
    plans[1].record_path.parent.mkdir(parents=True)
    plans[1].record_path.write_text("{")
    with Claims() as claims:
        assert claims.take(plans[2].record_path)
        status = folder_status(tmp_path / "runs")
    assert {(run.method, run.seed, run.status) for run in status.runs.values()} == {
        ("ncm", 0, "done"),
        ("ncm", 1, "running"),
    }
    assert replace(plans[2]).pending.seed == 1
    assert record_text(read_record(plans[0].record_path)) == record_text(record)


@pytest.mark.parametrize("seconds", ['"x"', "null", "[1]"])
def test_a_record_with_values_of_another_kind_is_passed_over(
    plans: list[RunPlan], tmp_path: Path, seconds: str
) -> None:
    plans[0].record_path.parent.mkdir(parents=True)
    text = record_text(done(plans[0], 5))
    plans[0].record_path.write_text(text.replace('"seconds": 5.0', f'"seconds": {seconds}', 1))
    assert plans[0].record_path.read_text() != text
    assert next(lines_of(folder_status(tmp_path / "runs"))) == "0 done"


def test_what_is_partly_there_is_said(plans: list[RunPlan], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(tmp_path / "runs" / "tiny", plans)
    for plan in plans[:4]:
        write_record(done(plan, 5), plan.record_path)
    write_record(failed_record(plans[5], "failed", "no", 1.0), plans[5].record_path)
    print_unfinished([tmp_path / "runs"])
    assert capsys.readouterr().err.splitlines() == [
        "tiny: ncm: 2 of 3 seeds (the others: waiting)",
        "tiny: replay: 2 of 3 seeds (the others: failed)",
    ]
    print_unfinished([tmp_path / "runs" / "tiny" / "ncm"])
    assert capsys.readouterr().err == "tiny: ncm: 2 of 3 seeds (the others: waiting)\n"
    print_unfinished([plans[0].record_path])
    assert capsys.readouterr().err == ""


def test_watching_ends_with_the_work(plans: list[RunPlan], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "runs")
    for plan in plans[:2]:
        write_record(done(plan, 5400), plan.record_path)
    assert main(["status", folder, "--watch"]) == 0
    assert capsys.readouterr().out == "2 done\n3.0 h spent\n"
    for more in (["--every", "0"], ["--stale-after", "-1"]):
        assert main(["status", folder, *more]) == 2
        assert "must be greater than 0" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "nothing")]) == 2
    assert "is not a folder of runs" in capsys.readouterr().err


def test_times_are_told_as_people_say_them() -> None:
    assert [words_for(seconds) for seconds in (0.4, 59, 61, 3599, 5400)] == ["0 s", "59 s", "1 min", "60 min", "1.5 h"]


@pytest.mark.slow
def test_a_detached_benchmark_outlives_its_terminal(tmp_path: Path) -> None:
    """The terminal is a session of its own, which is ended as a whole when the call has returned."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    command = ["-m", "clsuite", "bench", "tiny.yaml", "--methods", "ncm", "--detach", "--jobs", "1"]
    script = (
        "import subprocess, sys, time\n"
        "done = subprocess.run([sys.executable, *sys.argv[1:]], capture_output=True, text=True)\n"
        "print(done.stdout, flush=True)\n"
        "time.sleep(100)\n"
    )
    terminal = subprocess.Popen(
        [sys.executable, "-c", script, *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert terminal.stdout is not None
    told = [terminal.stdout.readline() for _ in range(4)]
    os.killpg(terminal.pid, signal.SIGHUP)
    terminal.wait()
    assert told[0] == "3 runs planned, 0 done; workers: clsuite work runs\n"
    assert "clsuite status runs --watch" in told[2]
    end = time.monotonic() + 200
    while find_manifests(tmp_path / "runs"):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert [run.status for run in folder_status(tmp_path / "runs").runs.values()] == ["done"] * 3
