"""Real runs in processes of their own: determinism, kills, crashes, records."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

import clsuite
from clsuite.cli.main import main
from clsuite.plugin.catalog import catalog
from clsuite.records import read_predictions, read_record, rescore
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import make_plan
from clsuite.runner.spec import load_benchmark

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"name": "digits", "train_per_class": 20, "test_per_class": 8},
    "scenario": {"tasks": 5},
    "training": {"epochs": 2, "optimizer": {"lr": 0.0005, "head_lr": 0.003}},
    "seeds": [0],
    "methods": {"finetune": "finetune", "ncm": "ncm", "both": ["lwf", {"replay": {"capacity": 20}}]},
}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


class Told(NamedTuple):
    """What a call of the benchmark printed."""

    stdout: str
    stderr: str


def run(spec: Path, out: Path, *arguments: str, status: int = 0) -> Told:
    """Call the benchmark from here; its runs come from one fork server for all tests, which loads the libraries."""
    with redirect_stdout(StringIO()) as shown, redirect_stderr(StringIO()) as told:
        ended = main(["bench", str(spec), "--out", str(out), *arguments])
    assert ended == status, shown.getvalue() + told.getvalue()
    return Told(shown.getvalue(), told.getvalue())


def command(spec: Path, out: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "clsuite.cli.main", "bench", str(spec), "--out", str(out), *arguments]


def run_apart(spec: Path, out: Path, *arguments: str) -> None:
    """Call the benchmark from another interpreter, which has a fork server and hashes of its own."""
    done = subprocess.run(command(spec, out, *arguments), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def counts(out: Path) -> dict[str, Any]:
    records = [read_record(path) for path in sorted(out.glob("*/*/*.json"))]
    return {f"{record.method} {record.seed}": record.counts for record in records}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tiny benchmark, run once with models saved; its spec and output folder."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    run(folder / "tiny.yaml", folder / "out", "--save-model")
    return folder / "tiny.yaml", folder / "out"


def test_what_a_benchmark_leaves(finished: tuple[Path, Path]) -> None:
    _, out = finished
    names = sorted(path.name.split("-")[0] for path in (out / "tiny").glob("*/*"))
    assert names == ["seed0"] * 12
    assert (out / "tiny" / "summary.csv").read_text().startswith("method,seeds,final_accuracy_macro,")
    assert (out / "tiny" / "accuracy.svg").read_text().startswith("<?xml")
    for path in out.glob("*/*/*.json"):
        record = read_record(path)
        assert record.status == "done"
        assert record.key == record.recomputed_key()
        assert rescore(read_predictions(path.with_suffix(".npz"))) == record.counts
        assert record.environment["threads"] == 1
        assert record.cost is not None
        assert record.cost.forward_flops_per_image > 0
        text = path.read_text()
        assert str(Path.home()) not in text
        assert os.uname().nodename not in text


def test_finished_runs_are_not_repeated(finished: tuple[Path, Path]) -> None:
    spec, out = finished
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*/*.json")}
    shown = run(spec, out).stdout
    assert "3 runs done already" in shown
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*/*.json")} == before
    assert "3 runs, 3 done, 0 to do" in run(spec, out, "--dry-run").stdout
    assert "3 runs, 0 done, 3 to do" in run(spec, out, "--dry-run", "--epochs", "1").stdout


@pytest.mark.slow
def test_same_counts_from_empty_folders_whatever_the_number_of_jobs(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    spec, out = finished
    run_apart(spec, tmp_path / "again", "--jobs", "1")
    assert counts(tmp_path / "again") == counts(out)


@pytest.mark.slow
def test_a_saved_model_predicts_the_same(finished: tuple[Path, Path]) -> None:
    spec, out = finished
    benchmark, path = load_benchmark(str(spec))
    for plan in make_plan(benchmark, path.parent, RunOptions(out=out)):
        model = clsuite.load_model(plan.record_path)
        stored = read_predictions(plan.beside(".npz"))
        from clsuite.runner.execute import build_stream

        scenario = build_stream(plan, lambda event: None).scenario
        rows = np.concatenate([task.test for task in scenario.tasks])
        np.testing.assert_array_equal(model.predict(scenario.table.images[rows]), stored["class_incremental"][-1])
        assert model.classes == scenario.classes


@pytest.mark.slow
def test_untrustworthy_records_are_set_aside_and_run_again(finished: tuple[Path, Path], tmp_path: Path) -> None:
    spec, out = finished
    copy = tmp_path / "out"
    subprocess.run(["cp", "-r", str(out), str(copy)], check=True)
    paths = sorted(copy.glob("*/*/*.json"))
    paths[0].write_text(paths[0].read_text()[:500])
    newer = json.loads(paths[1].read_text())
    paths[1].write_text(json.dumps({**newer, "schema_version": 99}))
    edited = json.loads(paths[2].read_text())
    edited["config"]["training"]["epochs"] = 7
    paths[2].write_text(json.dumps(edited))
    warned = run(spec, copy).stderr
    assert "is not complete JSON" in warned
    assert "has schema 99" in warned
    assert "was edited" in warned
    assert warned.count("the run repeated") == 3
    assert len(list(copy.glob("*/*/*.unreadable"))) == 3
    assert counts(copy) == counts(out)


def kill_group_after(spec: Path, out: Path, seconds: float) -> bool:
    """Start the benchmark and SIGKILL it and all its processes after a while; False if it had ended before."""
    process = subprocess.Popen(
        command(spec, out), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_killed_run_resumes_to_the_same_counts(finished: tuple[Path, Path], tmp_path: Path) -> None:
    """SIGKILL to everything while tasks are being learned, then the same command again."""
    spec, out = finished
    copy = tmp_path / "out"
    process = subprocess.Popen(
        command(spec, copy, "--methods", "both"),
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    checkpointed = wait_for(lambda: bool(list(copy.glob("*/*/*.ckpt"))), 120)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpointed
    assert not list(copy.glob("*/*/seed*.json"))
    run(spec, copy, "--methods", "both")
    assert counts(copy)["both 0"] == counts(out)["both 0"]
    assert not list(copy.glob("*/*/*.ckpt"))


@pytest.mark.nightly
def test_run_killed_at_five_random_moments(finished: tuple[Path, Path], tmp_path: Path) -> None:
    spec, out = finished
    random = np.random.RandomState(0)
    killed = sum(kill_group_after(spec, tmp_path / "out", 9 + 8 * random.rand()) for _ in range(5))
    run(spec, tmp_path / "out")
    assert killed >= 3
    assert counts(tmp_path / "out") == counts(out)


PLUGINS = """
import os, signal, time
from clsuite.plugin import Plugin


class Dies(Plugin):
    '''Kills its own process in the second task.'''

    def on_task_start(self, learner, task):
        if task.index == 1:
            os.kill(os.getpid(), signal.SIGKILL)


class Raises(Plugin):
    '''Raises in the second task.'''

    def on_task_end(self, learner, task):
        if task.index == 1:
            raise RuntimeError("raised on purpose")


class Sleeps(Plugin):
    '''Never ends.'''

    def on_task_end(self, learner, task):
        time.sleep(1000)
"""


@pytest.fixture
def bad_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registered plugins that fail, in a distribution of their own."""
    site = tmp_path / "site"
    (site / "bad-1.dist-info").mkdir(parents=True)
    (site / "bad-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
    names = "dies = bad_plugins:Dies\nraises = bad_plugins:Raises\nsleeps = bad_plugins:Sleeps\n"
    (site / "bad-1.dist-info" / "entry_points.txt").write_text(f"[clsuite.plugins]\n{names}")
    (site / "bad_plugins.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(str(site))  # a fork server's processes have the path of the one that asks for them
    catalog.cache_clear()
    yield
    catalog.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("bad_plugins")
def test_a_run_that_fails_ends_alone(spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(spec, out, "--methods", "dies,raises,sleeps,ncm", "--timeout", "12", status=1)
    records = {record.method: record for record in map(read_record, out.glob("*/*/*.json"))}
    assert {name: record.status for name, record in records.items()} == {
        "dies": "failed", "raises": "failed", "sleeps": "timeout", "ncm": "done",
    }  # fmt: skip
    assert "ended by SIGKILL" in str(records["dies"].error)
    assert "RuntimeError: raised on purpose" in str(records["raises"].error)
    assert "on_task_end" in str(records["raises"].error)
    assert str(tmp_path) not in str(records["raises"].error)
    assert "stopped after 12" in str(records["sleeps"].error)
    for line in ("failed: dies, seed 0: ", "failed: raises, seed 0: RuntimeError", "timeout: sleeps, seed 0: "):
        assert line in done.stderr
    assert "│ ncm" in done.stdout
    assert run(spec, out, "--methods", "raises", "--dry-run").stdout.startswith("to do")
