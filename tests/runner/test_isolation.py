"""Real runs in which something goes wrong: what goes wrong ends alone and is told, and the others are done."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.cli.main import main
from clsuite.records import RunRecord, read_record, why_untrue
from clsuite.runner import bench
from clsuite.runner.bench import run_missing, scan_results
from clsuite.runner.execute import execute
from clsuite.runner.file_names import LONGEST_FOLDER, file_name
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import load_benchmark
from clsuite.stream.sealed_state import write_state

TINY: dict[str, Any] = {
    "name": "tiny", "dataset": {"name": "digits", "train_per_class": 5, "test_per_class": 3},
    "scenario": {"tasks": 5}, "limit_tasks": 2, "training": {"epochs": 1}, "seeds": [0], "methods": {"ncm": "ncm"},
}  # fmt: skip
PLUGINS = '''
import os, signal, subprocess, sys, threading, time
from pathlib import Path
from clsuite.plugin import Plugin


def start_children(name):
    """Start what does not end, in the session of the run, and in one of its own."""
    for own in (False, True):
        child = subprocess.Popen(["sleep", "1000"], start_new_session=own)
        with Path(__file__).with_name("children").open("a") as opened:
            print(name, child.pid, "own" if own else "", file=opened)


class Hangs(Plugin):
    """Hangs when it is started."""
    def on_stream_start(self, learner, scenario):
        start_children("hangs")
        time.sleep(1000)


class Exits(Plugin):
    """Ends the process when it is built."""
    def __init__(self):
        os._exit(0)


class Crashes(Plugin):
    """Crashes when it is started."""
    def on_stream_start(self, learner, scenario):
        start_children("crashes")
        os.kill(os.getpid(), signal.SIGSEGV)


class SysExits(Plugin):
    """Wants to end the program when it is started."""
    def on_stream_start(self, learner, scenario):
        sys.exit(0)


class Raises(Plugin):
    """Raises when it is built."""
    def __init__(self):
        raise KeyError("brackets [/red] and \\x1b[31m")


class Late(Plugin):
    """Wants to end the program when it has learned."""
    def on_task_end(self, learner, task):
        sys.exit(0)


class Moves(Plugin):
    """Goes to another folder."""
    def __init__(self):
        os.chdir("/")
    def on_task_start(self, learner, task):
        os.chdir("/usr")
        start_children("moves")


class Holds(Plugin):
    """Leaves a thread that does not end."""
    def on_task_end(self, learner, task):
        threading.Thread(target=time.sleep, args=(1000,)).start()


class Halves(Plugin):
    """Fails with a text that no file can hold."""
    def on_task_end(self, learner, task):
        start_children("halves")
        raise ValueError("half of a character: \\ud83e")


class Uncounted(Plugin):
    """Cannot say what it keeps."""
    def stored_bytes(self):
        return {"exemplars": float("nan")}


class KillsServer(Plugin):
    """Kills the process that starts the runs, once."""
    def on_task_start(self, learner, task):
        marker = Path(__file__).with_name("killed")
        if task.index == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(1000)


class Waits(Plugin):
    """Waits in the second task until it may go on."""
    def on_task_start(self, learner, task):
        start_children("waits")
        while task.index == 1 and not Path(__file__).with_name("go_on").exists():
            time.sleep(0.05)
'''
BROKEN = (
    "raise RuntimeError('broken at import')\n\nfrom clsuite.plugin import Plugin\n\n\nclass Broken(Plugin):\n    pass\n"
)
CLASSES = (
    "Hangs",
    "Exits",
    "Crashes",
    "SysExits",
    "Raises",
    "Late",
    "Moves",
    "Holds",
    "KillsServer",
    "Halves",
    "Uncounted",
)
LONG = "m" * 400
CHECK_SECONDS = 5
BENCH = f"""
import sys
from clsuite.cli.main import main
from clsuite.runner import checks
checks.CHECK_SECONDS = {CHECK_SECONDS}.0
sys.exit(main(["bench", *sys.argv[1:]]))
"""
"""`clsuite bench` that stops a method that hangs in its check soon."""


def make(folder: Path) -> Path:
    """The benchmark's file, with the plugins beside it."""
    (folder / "bad.py").write_text(PLUGINS)
    (folder / "broken.py").write_text(BROKEN)
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def plans_of(path: Path, out: Path) -> list[RunPlan]:
    spec, folder = load_benchmark(str(path))
    return [replace(plan, device="cpu") for plan in make_plan(spec, folder, RunOptions(out=out))]


def records_of(out: Path) -> dict[str, RunRecord]:
    return {record.method: record for record in map(read_record, out.glob("*/*/*.json"))}


class Outcome:
    """One benchmark of many bad methods, called from its folder with a relative ``--out``."""

    def __init__(self, folder: Path, status: int, out: str, err: str) -> None:
        self.folder, self.status, self.out, self.err = folder, status, out, err
        self.records = records_of(folder / "out")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("isolation")
    spec = yaml.safe_load(make(folder).read_text())
    spec["methods"] |= {name.lower(): f"./bad.py:{name}" for name in CLASSES}
    spec["methods"] |= {"broken": "./broken.py", LONG: "ncm", "way": "ncm", "x[/red] [lr]": "ncm"}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(spec))
    (folder / "out" / "tiny" / "accuracy.svg").mkdir(parents=True)
    (folder / "out" / "tiny" / "way").write_text("in the way")
    done = subprocess.run(
        [sys.executable, "-c", BENCH, "tiny.yaml", "--out", "out", "--timeout", "40", "--jobs", "2"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    return Outcome(folder, done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_the_others_are_done_and_the_status_says_that_some_failed(outcome: Outcome) -> None:
    assert outcome.status == 1, outcome.err
    done = {name for name, record in outcome.records.items() if record.status == "done"}
    assert done == {"ncm", "moves", "holds", "killsserver", LONG, "x[/red] [lr]"}
    assert (outcome.folder / "out" / "tiny" / "summary.csv").read_text().count("\n") == 1 + len(done)
    assert "Traceback" not in outcome.out + outcome.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "status", "reason", "place"),
    [
        ("hangs", "timeout", f"its check before the runs was stopped after {CHECK_SECONDS} s", ""),
        (
            "exits",
            "failed",
            "its check before the runs ended: the process exited with status 0 and wrote no result",
            "",
        ),
        ("crashes", "failed", "its check before the runs ended: the process was ended by SIGSEGV", ""),
        ("sysexits", "failed", "SystemExit: 0", "in on_stream_start: sys.exit(0)"),
        ("raises", "failed", r"KeyError: 'brackets [/red] and \x1b[31m'", "in __init__: raise KeyError("),
        ("late", "failed", "SystemExit: 0", "in on_task_end: sys.exit(0)"),
        ("halves", "failed", r"ValueError: half of a character: \ud83e", "in on_task_end: raise ValueError("),
        ("uncounted", "failed", "UserError: stored_bytes() of the plugin Uncounted gives {'exemplars': nan}, but", ""),
        ("broken", "failed", "fails to import: RuntimeError: broken at import", "broken.py:1, in <module>: raise"),
    ],
)
def test_what_goes_wrong_is_told_by_name_with_its_reason_and_place(
    outcome: Outcome, method: str, status: str, reason: str, place: str
) -> None:
    record = outcome.records[method]
    assert record.status == status
    lines = outcome.err.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"{status}: {method}, seed 0: "))
    assert reason in lines[first]
    if place:
        assert place in lines[first + 1]
    command = lines[first + bool(place) + 1].strip()
    path = command.removeprefix("more: clsuite show ")
    assert read_record(outcome.folder / path) == record
    assert f"{method}, seed 0: {status} in " in outcome.out


@pytest.mark.slow
def test_a_run_that_cannot_write_is_told_and_needs_no_training(outcome: Outcome) -> None:
    place = outcome.folder / "out" / "tiny" / "way"
    told = [line for line in outcome.err.splitlines() if line.startswith("failed: way, seed 0: ")]
    assert len(told) == 1
    assert f"cannot write into '{place}'" in told[0]
    assert place.read_text() == "in the way"
    assert "more: clsuite show out/tiny/way" not in outcome.err


@pytest.mark.slow
def test_a_report_that_cannot_be_written_is_told_and_the_rest_of_it_is_there(outcome: Outcome) -> None:
    assert "not written: cannot write 'out/tiny/accuracy.svg': Is a directory" in outcome.err
    assert len(list(outcome.folder.glob("out/tiny/*/*.svg"))) == 6


@pytest.mark.slow
def test_names_are_shown_as_they_are(outcome: Outcome) -> None:
    assert "x[/red] [lr], seed 0: done in" in outcome.out
    assert "\x1b" not in outcome.out + outcome.err


@pytest.mark.slow
def test_a_thread_that_stays_holds_nothing_up(outcome: Outcome) -> None:
    found = re.search(r"holds, seed 0: done in (\d+) s", outcome.out)
    assert found is not None
    assert int(found[1]) < 25


@pytest.mark.slow
def test_a_killed_fork_server_is_started_anew_and_the_run_goes_on(outcome: Outcome) -> None:
    assert (outcome.folder / "killed").exists()
    assert "warning: killsserver, seed 0: the process that starts the runs was killed" in outcome.out
    assert outcome.records["killsserver"].counts == outcome.records["holds"].counts


def children_of(folder: Path) -> list[tuple[str, int, bool]]:
    """What plugins have started: by whom, its number, and whether it has a session of its own."""
    lines = [line.split() for line in (folder / "children").read_text().splitlines()]
    return [(words[0], int(words[1]), "own" in words) for words in lines]


@pytest.mark.slow
def test_what_a_run_has_started_ends_with_it_however_it_ends(outcome: Outcome) -> None:
    children = children_of(outcome.folder)
    assert {name for name, _, _ in children} == {"hangs", "crashes", "moves", "halves"}
    for name, pid, own in children:
        if not (own and name == "crashes"):  # nobody knows any more whose that one is
            assert ended(pid), name
        else:
            os.kill(pid, signal.SIGKILL)


def state_of(pid: int) -> bytes:
    """R where a process runs, S where it waits, T where it is stopped, Z where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return b"Z"


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def has_ended(pid: int) -> bool:
    return state_of(pid) == b"Z"


def ended(pid: int) -> bool:
    """Whether a process has ended, soon at least; nobody may have asked how."""
    return eventually(lambda: has_ended(pid))


def test_long_names_have_folders_of_a_bounded_name() -> None:
    names = [file_name("m" * 400), file_name("m" * 399 + "n"), file_name("ü" * 200), file_name("ü" * 199 + "x[")]
    assert len(set(names)) == len(names)
    assert all(len(name.encode()) <= LONGEST_FOLDER for name in names)
    assert file_name("m" * LONGEST_FOLDER) == "m" * LONGEST_FOLDER
    assert file_name("a(b=[1])") == "a_b=_1__"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make(tmp_path)


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a benchmark of three seeds, whose runs are all done."""
    folder = tmp_path_factory.mktemp("three")
    path = make(folder)
    path.write_text(yaml.safe_dump({**TINY, "seeds": [0, 1, 2]}))
    for plan in plans_of(path, folder / "out"):
        assert execute(plan, lambda event: None).status == "done"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "gone", "folder", "another", "no text"])
def test_a_record_that_cannot_be_read_leaves_the_report_of_the_rest(
    three_seeds: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(three_seeds, tmp_path, dirs_exist_ok=True)
    tiny = tmp_path / "tiny.yaml"
    plans = plans_of(tiny, tmp_path / "out")
    standing = scan_results(plans, print)
    bad = plans[1].record_path
    damages: dict[str, Callable[[], object]] = {
        "cut": lambda: bad.write_bytes(bad.read_bytes()[:300]),
        "gone": bad.unlink,
        "folder": lambda: (bad.unlink(), bad.mkdir()),
        "another": lambda: bad.write_bytes(plans[0].record_path.read_bytes()),
        "no text": lambda: bad.write_bytes(b"\xff\xfe\x1b[31m"),
    }
    damages[damage]()
    outcomes = run_missing(standing, ["cpu"], None, lambda plan, event: None)
    assert [outcomes[plan.record_path].status for plan in plans] == ["done", "failed", "done"]
    assert str(bad) in str(outcomes[bad].error)
    monkeypatch.setattr("clsuite.cli.bench.scan_results", lambda plans, warn: replace(standing, plans=plans))
    assert main(["bench", str(tiny), "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("failed: ncm, seed 1: ")
    assert str(bad) in told.err
    assert "│ ncm " in told.out
    assert "0 2," in (tmp_path / "out" / "tiny" / "summary.csv").read_text()


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_is_warned_of_and_the_run_begins_anew(tiny: Path, tmp_path: Path) -> None:
    (plan,) = plans_of(tiny, tmp_path / "out")
    plan.record_path.parent.mkdir(parents=True)
    whole = execute(plan, lambda event: None)
    for state in ({"identity": plan.pending.key}, {"other": 1}):
        write_state(state, plan.beside(".ckpt"))
        if "identity" in state:
            with pytest.warns(match="does not fit: KeyError: 'learner'. The run begins again from the start"):
                again = execute(plan, lambda event: None)
        else:
            again = execute(plan, lambda event: None)
        assert again.counts == whole.counts
        assert not plan.beside(".ckpt").exists()


def full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_checkpoint_that_finds_no_room_ends_no_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plan,) = plans_of(tiny, tmp_path / "out")
    monkeypatch.setattr("clsuite.stream.sealed_state.torch.save", full)
    with pytest.warns(match=r"cannot write '.*\.ckpt': No space left on device. The run continues, but"):
        assert execute(plan, lambda event: None).status == "done"
    assert [path.suffix for path in sorted(plan.record_path.parent.iterdir())] == [".json", ".npz"]


def test_predictions_that_find_no_room_are_the_reason_of_the_failure(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plan,) = plans_of(tiny, tmp_path / "out")
    monkeypatch.setattr("clsuite.records.store.np.savez_compressed", full)
    record = execute(plan, lambda event: None)
    assert record.status == "failed"
    assert str(record.error).endswith(".npz': No space left on device")
    assert read_record(plan.record_path).error == record.error
    assert plan.beside(".ckpt").exists()


def test_an_out_folder_of_a_name_that_no_file_system_takes_is_one_line(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(tiny), "--out", str(tmp_path / ("o" * 300))]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "too long" in told


def test_a_checkpoint_that_cannot_be_removed_is_one_line(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plan,) = plans_of(tiny, tmp_path / "out")
    plan.beside(".ckpt").mkdir(parents=True)
    with pytest.raises(bench.UserError, match=r"cannot remove '.*\.ckpt'"):
        bench.forget([plan])
    assert main(["bench", str(tiny), "--out", str(tmp_path / "out"), "--force"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def _heeding() -> None:
    """Let a process heed signals that the tests' own process may ignore, as what runs in the background does."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "group", "status"),
    [
        (signal.SIGTERM, False, 143),
        (signal.SIGINT, True, 130),
        pytest.param(signal.SIGTERM, True, 143, marks=pytest.mark.nightly),
        pytest.param(signal.SIGHUP, True, 129, marks=pytest.mark.nightly),
        pytest.param(signal.SIGUSR1, True, 138, marks=pytest.mark.nightly),
    ],
)
def test_a_signal_interrupts_and_the_run_goes_on_where_it_stopped(
    tiny: Path, tmp_path: Path, number: int, group: bool, status: int
) -> None:
    command = [sys.executable, "-m", "clsuite.cli.main", "bench", str(tiny), "--out", str(tmp_path / "out")]
    command += ["--methods", f"{tmp_path / 'bad.py'}:Waits"]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heeding
    )
    end = time.monotonic() + 200
    while not list(tmp_path.glob("out/*/*/*.ckpt")) and time.monotonic() < end:
        time.sleep(0.05)
    (os.killpg if group else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, out + err
    assert err == "interrupted: finished runs are kept; run the command again to resume\n"
    (record,) = records_of(tmp_path / "out").values()
    assert record.status == "interrupted"
    assert len(list(tmp_path.glob("out/*/*/*.ckpt"))) == 1
    assert gone(process.pid)
    children = children_of(tmp_path)
    assert len(children) >= 2
    assert all(ended(pid) for _, pid, _ in children)


@pytest.mark.slow
def test_a_bench_that_is_killed_leaves_no_process(tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clsuite.cli.main", "bench", str(tiny), "--out", str(tmp_path / "out")]
    command += ["--methods", f"{tmp_path / 'bad.py'}:Waits"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 200
    while not list(tmp_path.glob("out/*/*/*.ckpt")) and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert all(ended(pid) for _, pid, _ in children_of(tmp_path))
    assert gone(process.pid)


@pytest.mark.slow
def test_ctrl_z_stops_the_runs_too(tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clsuite.cli.main", "bench", str(tiny), "--out", str(tmp_path / "out")]
    command += ["--methods", f"{tmp_path / 'bad.py'}:Waits"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 200
    while not list(tmp_path.glob("out/*/*/*.ckpt")) and time.monotonic() < end:
        time.sleep(0.05)
    (worker, *_) = {os.getsid(pid) for _, pid, own in children_of(tmp_path) if not own and not has_ended(pid)}
    os.killpg(process.pid, signal.SIGTSTP)
    assert eventually(lambda: state_of(process.pid) == state_of(worker) == b"T")
    os.killpg(process.pid, signal.SIGCONT)
    assert eventually(lambda: b"T" not in (state_of(process.pid), state_of(worker)))
    (tmp_path / "go_on").touch()
    assert process.wait(60) == 0


def gone(group: int) -> bool:
    """Whether all processes of a group have ended, soon at least."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_libraries_are_loaded_gives_no_traceback(tiny: Path, tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "clsuite.cli.main", "bench", str(tiny), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heeding
    )
    end = time.monotonic() + 60
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(children.read_text().split()) < 2 and time.monotonic() < end:  # the tracker and the fork server
        time.sleep(0.01)
    time.sleep(0.5)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err == "interrupted: finished runs are kept; run the command again to resume\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_that_run_the_same_at_once_lose_double_and_damage_no_record(tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clsuite.cli.main", "bench", "tiny.yaml", "--out", "out", "--jobs", "1"]
    command += ["--methods", "ncm,finetune", "--seeds", "0,1"]
    running = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=200)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    records = list((tmp_path / "out").glob("*/*/*.json"))
    assert sorted((read_record(path).method, read_record(path).seed) for path in records) == [
        ("finetune", 0), ("finetune", 1), ("ncm", 0), ("ncm", 1),
    ]  # fmt: skip
    assert [why_untrue(read_record(path), path) for path in records] == [""] * 4
    names = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in names} == {".json", ".npz", ".svg", ".csv"}
    assert not any(name.startswith(".") for name in names)
