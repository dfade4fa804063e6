"""`--debug`: runs in this process, where breakpoint() and post-mortem work and tracebacks are whole."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from forked_commands import Ended, run_forked

import clsuite
from clsuite.cli.main import main
from clsuite.records import read_record
from clsuite.runner.executor import InProcess
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.shared_runs import SharedRuns
from clsuite.runner.spec import load_benchmark

TINY = {
    "name": "tiny",
    "dataset": {"name": "digits", "train_per_class": 4, "test_per_class": 4},
    "scenario": {"tasks": 5},
    "limit_tasks": 1,
    "training": {"epochs": 1},
    "seeds": [0],
    "methods": {"ncm": "ncm"},
}
PLUGIN = '''
from clsuite.plugin import Plugin
from helper import scale

class Mine(Plugin):
    """Mine."""

    def loss(self, learner, step):
        {}
        return None
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a benchmark and a helper of plugins."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(yaml.safe_dump(TINY))
    Path("helper.py").write_text("def scale(x):\n    return x / 0\n")
    return tmp_path


def plugin(line: str) -> None:
    Path("mine.py").write_text(PLUGIN.format(line))


def record_path() -> Path:
    (path,) = Path("runs").rglob("seed0-*.json")
    return path


BENCH = ["bench", "tiny.yaml", "--methods", "./mine.py", "--device", "cpu"]


def answered(words: list[str], typed: str, folder: Path) -> Ended:
    """The command with ``--debug``, in a process of its own that reads what was typed from a pipe's file."""
    (folder / "typed").write_text(typed)
    return run_forked([*words, "--debug"], folder, str(folder / "typed"))


def at_a_terminal(words: list[str], typed: bytes, folder: Path) -> Ended:
    """The same, but that it reads from a terminal."""
    ours, theirs = os.openpty()
    os.write(ours, typed)
    done = run_forked([*words, "--debug"], folder, os.ttyname(theirs))
    os.close(ours)
    os.close(theirs)
    return done


@pytest.mark.slow
def test_breakpoint_in_loss_is_a_prompt(folder: Path) -> None:
    plugin("breakpoint()")
    done = answered(BENCH, "p 'here', type(self).__name__\nc\n", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(Pdb) ('here', 'Mine')" in done.stdout
    assert read_record(record_path()).status == "done"
    assert not record_path().with_suffix(".log").exists()


@pytest.mark.slow
def test_a_run_that_is_debugged_has_the_counts_of_one_that_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    plugin("pass")
    assert main([*BENCH, "--out", "apart"]) == 0
    assert main([*BENCH, "--debug"]) == 0
    assert "run mine.py, seed 0, on cpu" in capsys.readouterr().out
    (other,) = Path("apart").rglob("seed0-*.json")
    assert read_record(record_path()).counts == read_record(other).counts


def test_the_traceback_is_whole_and_the_record_written(capfd: pytest.CaptureFixture[str]) -> None:
    plugin("scale(2)")
    assert main([*BENCH, "--debug"]) == 1
    told = capfd.readouterr()
    assert "Traceback (most recent call last)" in told.err
    assert "return x / 0" in told.err
    assert "in loss\n    scale(2)" in told.err
    assert "--debug" not in told.err
    assert "failed: mine.py, seed 0" in told.out
    record = read_record(record_path())
    assert (record.status, "ZeroDivisionError" in str(record.error)) == ("failed", True)
    assert isinstance(sys.last_value, ZeroDivisionError)
    Path("helper.py").write_text("def scale(x):\n    return x\n")
    assert main([*BENCH, "--debug"]) == 0  # the helper of now


def test_a_failed_run_says_how_to_see_the_rest(capfd: pytest.CaptureFixture[str]) -> None:
    plugin("scale(2)")
    assert main(BENCH) == 1
    told = capfd.readouterr().err
    assert "ZeroDivisionError: division by zero" in told
    assert "helper.py" in told or "mine.py" in told
    assert f"more: clsuite show {record_path()}" in told
    assert "debug: the same command with --debug" in told


def test_run_raises_what_the_run_raised() -> None:
    plugin("scale(2)")
    with pytest.raises(ZeroDivisionError) as raised:
        clsuite.run("tiny.yaml", "./mine.py", device="cpu", debug=True)
    assert [entry.name for entry in raised.traceback][-2:] == ["loss", "scale"]
    assert read_record(record_path()).status == "failed"


@pytest.mark.nightly
def test_quitting_the_debugger_interrupts(folder: Path) -> None:
    plugin("breakpoint()")
    done = answered(BENCH, "q\n", folder)
    assert done.returncode == 130, done.stdout + done.stderr
    assert "interrupted: finished runs are kept" in done.stderr
    assert read_record(record_path()).status == "interrupted"


@pytest.mark.slow
def test_at_a_terminal_a_failure_opens_the_debugger_where_it_was_raised(folder: Path) -> None:
    plugin("scale(2)")
    done = at_a_terminal(BENCH, b"p x\nup\np 'above', type(self).__name__\nq\n", folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "(Pdb) 2" in done.stdout
    assert "('above', 'Mine')" in done.stdout


CONSTRUCTOR = "    def __init__(self, alpha: float = 0.5) -> None:\n        super().__init__()\n        {}\n"
START = "    def on_stream_start(self, learner, scenario):\n        {}\n"


@pytest.mark.parametrize(
    ("hook", "line"),
    [
        pytest.param(CONSTRUCTOR, "scale(2)", marks=pytest.mark.nightly),
        pytest.param(START, "scale(2)", marks=pytest.mark.nightly),
        pytest.param(START, "raise UserError('mine refuses')", marks=pytest.mark.nightly),
    ],
)
def test_what_the_check_before_runs_would_find_opens_the_debugger_too(hook: str, line: str, folder: Path) -> None:
    plugin("pass")
    text = Path("mine.py").read_text().replace("import Plugin", "import Plugin, UserError")
    Path("mine.py").write_text(text + hook.format(line))
    done = at_a_terminal(BENCH, b"up\nup\nq\n", folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "post-mortem" in done.stdout
    assert f"-> {line}" in done.stdout
    assert read_record(record_path()).status == "failed"


TUNE = ["tune", "tiny.yaml", "--method", "./mine.py", "--space", "epochs=[1, 2]", "--trials", "1", "--tasks", "1",
        "--validation", "0.5", "--device", "cpu"]  # fmt: skip


@pytest.mark.parametrize("words", [BENCH, TUNE])
@pytest.mark.parametrize("more", [("--jobs", "2"), ("--timeout", "5")])
def test_what_cannot_be_beside_debug_is_refused(
    words: list[str], more: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    plugin("pass")
    assert main([*words, "--debug", *more]) == 2
    assert f"remove {more[0]}" in capsys.readouterr().err


@pytest.mark.nightly
def test_breakpoint_in_a_trial_is_a_prompt(folder: Path) -> None:
    plugin("breakpoint()")
    done = answered(TUNE, "p 'here', learner.options.epochs\n" + "c\n" * 100, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(Pdb) ('here', " in done.stdout
    assert "chosen: epochs=" in done.stdout
    assert "run mine.py, seed 0, on cpu" in done.stdout


def test_the_traceback_of_a_trial_is_whole(capfd: pytest.CaptureFixture[str]) -> None:
    plugin("scale(2)")
    assert main([*TUNE, "--debug"]) == 2
    told = capfd.readouterr()
    assert "in loss\n    scale(2)" in told.err
    assert "none of the 1 trials finished: ZeroDivisionError" in told.err


def test_a_record_that_cannot_be_written_is_kept_in_memory(tmp_path: Path) -> None:
    plugin("pass")
    spec, path = load_benchmark("tiny.yaml")
    plans = make_plan(spec, path.parent, RunOptions(out=tmp_path / "runs", methods=["./mine.py"], device="cpu"))
    heard: list[str] = []
    raised: list[BaseException] = []

    def hear(plan: RunPlan, event: dict[str, object]) -> None:
        heard.append(str(event["kind"]))
        if event["kind"] == "start":
            shutil.rmtree(tmp_path / "runs" / "tiny")
            (tmp_path / "runs" / "tiny").write_text("a file")

    with SharedRuns(plans) as runs:
        outcomes = InProcess("cpu", lambda plan, error: raised.append(error)).run(runs, hear, {})
    assert (heard[0], heard[-1]) == ("start", "end")
    (record,) = outcomes.values()
    assert record.status == "failed"
    assert len(raised) == 1
