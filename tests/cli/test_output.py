"""Output that is closed, full or read by nobody, and foreign text in a terminal: the work is done all the same."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from rich.console import Console, ConsoleRenderable
from rich.table import Table
from rich.text import Text

from clsuite.api.progress import BenchProgress
from clsuite.cli import commands
from clsuite.cli.console import PlainConsole, make_console
from clsuite.cli.main import main
from clsuite.cli.output import SafeOutput, lost_for
from clsuite.errors import MistakesError, harmless
from clsuite.runner.plan import RunPlan

EVIL = "\x1b[31m\x07\x9b2J\u202eevil[/red][bold]"
COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
TINY: dict[str, Any] = {
    "name": "tiny", "dataset": {"name": "digits", "train_per_class": 5, "test_per_class": 3},
    "scenario": {"tasks": 5}, "limit_tasks": 2, "training": {"epochs": 1}, "seeds": [0],
    "methods": {"ncm": "ncm", "x[/red] [lr=0.1]": "ncm"},
}  # fmt: skip


@contextmanager
def standard_output(stream: Any) -> Iterator[None]:
    before, sys.stdout = sys.stdout, stream
    try:
        yield
    finally:
        sys.stdout = before


def pipe_without_reader() -> Any:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


@pytest.mark.parametrize(
    ("redirection", "status"), [(">&-", 0), ("2>&-", 0), (">&- 2>&- <&-", 0), ("> /dev/full", 1), ("| head -1", 0)]
)
@pytest.mark.parametrize("command", ["list scenarios", "--help"])
def test_a_command_ends_well_wherever_its_output_goes(command: str, redirection: str, status: int) -> None:
    line = f"{sys.executable} -m clsuite.cli.main {command} {redirection}; echo status ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout.endswith(f"status {status}\n"), done.stderr
    told = "clsuite: the output cannot be written: No space left on device\n" if status else ""
    assert done.stderr == told


@pytest.mark.slow
def test_bench_does_its_runs_without_output(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    line = f"{sys.executable} -m clsuite.cli.main bench {tmp_path / 'tiny.yaml'} --out {tmp_path / 'out'} >&- 2>&-"
    assert subprocess.run(["bash", "-c", line], check=False).returncode == 0
    assert len(list(tmp_path.glob("out/tiny/*/*.npz"))) == 2
    assert (tmp_path / "out" / "tiny" / "summary.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["leaves", "is full"])
def test_bench_does_its_runs_when_nobody_reads(tmp_path: Path, reader: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    with pipe_without_reader() if reader == "leaves" else open("/dev/full", "w") as stream, standard_output(stream):
        status = main(["bench", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "o[/b]ut")])
    assert status == (0 if reader == "leaves" else 1)
    assert capsys.readouterr().err.count("\n") == status
    assert len(list(tmp_path.rglob("*.npz"))) == 2


def test_what_is_lost_is_remembered_once() -> None:
    with pipe_without_reader() as pipe, open("/dev/full", "w") as disk:
        gone, full = SafeOutput(pipe), SafeOutput(disk)
        for out in (gone, full):
            for _ in range(3):
                assert out.write("x" * 100_000) == 100_000
                out.flush()
    assert (lost_for(gone), lost_for(SafeOutput(io.StringIO()))) == ("", "")
    assert lost_for(full) == "the output cannot be written: No space left on device"


def test_a_text_is_printed_as_it_is() -> None:
    shown = io.StringIO()
    console = PlainConsole(file=shown, force_terminal=True, width=200, highlight=False, emoji=False)
    for text in ("runs[lr=0.1]/o[/b]x", "[bold]x[/bold]", ":smile:", "a\tb\nc", f"o {EVIL}"):
        console.print(text, soft_wrap=True)
    lines = shown.getvalue().splitlines()
    assert lines[:3] == ["runs[lr=0.1]/o[/b]x", "[bold]x[/bold]", ":smile:"]
    assert lines[-1] == r"o \x1b[31m\x07\x9b2J\u202eevil[/red][bold]"


def test_tables_keep_their_own_marks_and_no_commands() -> None:
    shown = io.StringIO()
    console = PlainConsole(file=shown, force_terminal=True, color_system="standard", width=100)
    table = Table(title="of \x1b[31m")
    table.add_column("a\x07")
    table.add_row("[bold]9[/bold]")
    table.add_row("\x1b]0;title\x07")
    console.print(table)
    text = re.sub(r"\x1b\[[\d;]*m", "", shown.getvalue())
    assert "[bold]" not in text
    assert "9" in text
    assert not COMMANDS.search(text)
    assert r"\x1b]0;title\x07" in text
    assert "\x1b[1m9" in shown.getvalue()


def test_every_console_of_a_command_is_one_of_these() -> None:
    assert isinstance(make_console(), PlainConsole)
    assert isinstance(make_console(stderr=True), PlainConsole)


def evil_records(folder: Path) -> Path:
    """Published records with foreign words everywhere, and one that failed."""
    from clsuite.records import read_record, write_record

    root = Path(__file__).parents[2] / "leaderboard" / "records" / "quickstart"
    for number, path in enumerate(sorted(root.glob("ncm/*.json"))):
        if path.name.endswith(".rerun.json"):
            continue
        record = read_record(path)
        changes: dict[str, Any] = {
            "method": f"m{EVIL}", "benchmark": f"b{EVIL}",
            "config": {**record.config, "note": EVIL}, "environment": {"processor": EVIL},
            "plugins": [record.plugins[0].model_copy(update={"name": EVIL, "distribution": EVIL})],
            "scenario": record.scenario.model_copy(
                update={"task_names": [f"{name}{EVIL}" for name in record.scenario.task_names]}
            ),
        }  # fmt: skip
        place = folder / "good" / f"{number}.json"
        changed = record.model_copy(update={**changes, "predictions": f"{number}.npz"})
        write_record(changed.model_copy(update={"key": changed.recomputed_key()}), place)
        shutil.copy(path.with_suffix(".npz"), place.with_suffix(".npz"))
        failed = {"status": "failed", "error": f"Error: {EVIL}", "counts": None, "cost": None}
        write_record(record.model_copy(update={**changes, **failed}), folder / "bad" / f"{number}.json")
    return folder


def test_commands_of_foreign_records_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evil_records(tmp_path)
    good, bad = str(folder / "good"), str(folder / "bad")
    record = str(next((folder / "good").iterdir()))
    calls = [
        ["show", record],
        ["show", str(next((folder / "bad").iterdir()))],
        ["table", good, bad],
        ["table", bad],
        ["compare", good, record],
        ["compare", record, good, "--runs", bad],
        ["analyze", "sensitivity", record],
        ["plot", good, "-o", str(tmp_path / "a.svg")],
        ["table", good, "--columns", EVIL],
        ["bench", f"{EVIL}.yaml"],
        ["check", EVIL],
        ["list", EVIL],
        [EVIL],
        ["leaderboard", "add", bad, "--folder", str(tmp_path / "lb")],
    ]
    calls += [["table", good, "--format", form] for form in ("csv", "markdown", "latex")]
    for words in calls:
        status = main(words)
        told = capsys.readouterr()
        assert status in (0, 1, 2), words
        assert not COMMANDS.search(told.out + told.err), (words, told)
    assert main(["table", good]) == 0
    assert "evil[/red]" in capsys.readouterr().out
    assert main(["table", good, "--format", "csv", "-o", str(tmp_path / "t.csv")]) == 0
    assert not COMMANDS.search((tmp_path / "t.csv").read_text())


def test_harmless_texts_stay_what_they_are() -> None:
    text = "Käse, 夏 🧀 ± [x]\n\tnext"
    assert harmless(text) == text
    assert harmless("\udc80\x00\r") == r"\udc80\x00\r"
    assert harmless(harmless(EVIL)) == harmless(EVIL)


def test_complaints_keep_their_lines_and_no_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Any) -> int:
        raise MistakesError(f"one\n  two {EVIL}")

    monkeypatch.setitem(commands.COMMANDS, "list", replace(commands.COMMANDS["list"], run=refuse))
    assert main(["list", "scenarios"]) == 2
    assert capsys.readouterr().err == f"clsuite list: one\n  two {harmless(EVIL)}\n"


class Screen:
    """A terminal that knows what rich's progress writes: lines, carriage return, up, erase."""

    def __init__(self) -> None:
        self.lines, self.row = [""], 0

    def take(self, text: str) -> None:
        text = re.sub(r"\x1b\[[\d;]*m|\x1b\[\?25[lh]", "", text)
        for part in re.split(r"(\x1b\[\d*[AK]|\n|\r)", text):
            if part == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif part == "\x1b[1A":
                self.row = max(0, self.row - 1)
            elif part == "\x1b[2K":
                self.lines[self.row] = ""
            elif part and part != "\r":
                self.lines[self.row] = part


class RefreshingMeanwhile:
    """Has rich's own thread draw while a line is on its way to the terminal, as it may at any time."""

    def __init__(self, progress: Any) -> None:
        self.progress = progress

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        if any(isinstance(one, Text) for one in renderables):
            thread = threading.Thread(target=self.progress.refresh)
            thread.start()
            thread.join()
        return renderables


class Plan:
    """What the progress asks of a plan."""

    def __init__(self, name: str) -> None:
        self.name, self.record_path = name, Path(name)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_line_of_the_progress_is_lost(at_once: int) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100, height=50)
    names = [f"x[/red]{number} \x1b[31m" for number in range(9)]
    plans = [cast(RunPlan, Plan(name)) for name in names]
    with BenchProgress(console, len(plans), 0) as progress:
        console.push_render_hook(cast(Any, RefreshingMeanwhile(progress._progress)))
        for first in range(0, len(plans), at_once):
            for plan in plans[first : first + at_once]:
                progress.on_event(plan, {"kind": "start"})
            for plan in plans[first : first + at_once]:
                progress.on_event(plan, {"kind": "warning", "text": "[b]w[/b]"})
                progress.on_event(plan, {"kind": "progress", "task": 0, "tasks": 2, "done": 0.5})
            for plan in plans[first : first + at_once]:
                progress.on_event(plan, {"kind": "end", "status": "done"})
        console.pop_render_hook()
    screen = Screen()
    screen.take(shown.getvalue())
    told = [line.rstrip() for line in screen.lines if line.strip()]
    assert [line for line in told if line.startswith("[")] == [
        f"[{number + 1} of 9] {harmless(name)}: done in 0 s" for number, name in enumerate(names)
    ]
    assert [line for line in told if line.startswith("warning")] == [
        f"warning: {harmless(name)}: [b]w[/b]" for name in names
    ]
    assert len([line for line in told if line.startswith("all runs")]) == 1
    assert len(told) == 19


def test_a_run_that_begins_again_has_one_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    plan = cast(RunPlan, Plan("a"))
    with BenchProgress(console, 1, 0) as progress:
        progress.on_event(plan, {"kind": "start"})
        progress.on_event(plan, {"kind": "start"})
        assert len(progress._progress.tasks) == 2
        progress.on_event(plan, {"kind": "end", "status": "done"})
        assert len(progress._progress.tasks) == 1
