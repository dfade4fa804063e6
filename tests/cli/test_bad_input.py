"""Bad input: one clear line that names the culprit and the fix, exit status 2, nothing written or lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clsuite.cli.main import main

BASE: dict[str, Any] = {
    "name": "mine",
    "dataset": {"name": "digits"},
    "scenario": {"kind": "class_incremental", "tasks": 5},
    "training": {"epochs": 1},
    "seeds": [0],
    "methods": {"finetune": "finetune"},
}


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a benchmark that must be refused; returns the one line of complaint."""

    def refused(spec: dict[str, Any] | str, *arguments: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(spec if isinstance(spec, str) else yaml.safe_dump(spec, sort_keys=False))
        out = tmp_path / "out"
        status = main(["bench", str(path), "--out", str(out), *arguments])
        complaint = capsys.readouterr().err.strip()
        assert status == 2, complaint
        assert complaint.count("\n") == 0, complaint
        assert not out.exists()
        return complaint

    return refused


def changed(section: str, **values: Any) -> dict[str, Any]:
    return {**BASE, section: {**BASE.get(section, {}), **values}}


@pytest.mark.parametrize(
    ("spec", "arguments", "expected"),
    [
        (changed("dataset", name="digit"), [], "unknown data set 'digit'. Did you mean 'digits'?"),
        ({**BASE, "methods": {"x": "reply"}}, [], "unknown plugin 'reply'. Did you mean 'replay'?"),
        (BASE, ["--methods", "finetun"], "unknown plugin 'finetun'. Did you mean 'finetune'?"),
        (
            BASE,
            ["--methods", "replay(capacty=5)"],
            "unknown argument of plugin 'replay': 'capacty'. Did you mean 'capacity'",
        ),
        (BASE, ["--methods", "replay(capacity='big')"], "is 'big', but must be a whole number or null"),
        (BASE, ["--methods", "replay(5)"], "write NAME or NAME(argument=value)"),
        (BASE, ["--methods", "replay+ncm"], "'ncm' takes no gradient steps, so transform_batch of 'replay'"),
        (BASE, ["--methods", "joint+replay"], "joint training has all data already"),
        (
            BASE,
            ["--methods", "pet+ranpac"],
            "never be trained: to train some on the first task, write [first_session, ra",
        ),
        (BASE, ["--seeds", "a"], "--seeds is 'a', but must be whole numbers"),
        (BASE, ["--seeds", "0,-1"], "--seeds is '0,-1', but a seed must not be negative"),
        (BASE, ["--limit-tasks", "6"], "the first 6 tasks are requested, but the stream has 5"),
        (
            BASE,
            ["--methods", "pet(kind=lorra)", "--limit-tasks", "1"],
            "ssf. Did you mean 'lora'?",
        ),
        (BASE, ["--methods", "replay(capacity=size)"], "argument 'capacity' of plugin 'replay' is 'size', but must be"),
        (BASE, ["--epochs", "0"], "--epochs is 0, but must be at least 1"),
        (BASE, ["--limit-tasks", "0"], "--limit-tasks is 0, but must be at least 1"),
        (BASE, ["--eval-every", "0"], "--eval-every is 0, but must be at least 1"),
        (changed("evaluation", every=0), [], "mine.yaml:14: evaluation.every is 0, but must be at least 1"),
        (
            changed("evaluation", every=5, samples=0),
            [],
            "mine.yaml:15: evaluation.samples is 0, but must be at",
        ),
        (changed("evaluation", every=10**30), [], "but must be at most"),
        (changed("evaluation", every=True), [], "evaluation.every is true, but must be a whole number"),
        (changed("evaluation", samples=5), [], "evaluation.every is missing"),
        (changed("evaluation", every=5, sample=5), [], "unknown key 'evaluation.sample'. Did you mean 'samples'?"),
        (changed("scenario", tasks=11), [], "scenario.tasks is 11, but the data set has only 10 classes"),
        (changed("scenario", first_task=8), [], "cannot fill 4 more tasks"),
        (changed("scenario", kind="domain_incremental"), [], "needs a data set with domains"),
        (changed("training", epoch=1), [], "mine.yaml:9: unknown key 'training.epoch'. Did you mean 'epochs'?"),
        (changed("training", epochs="many"), [], "mine.yaml:8: training.epochs"),
        (changed("training", optimizer={"lr": -1}), [], "training.optimizer.lr"),
        ({**BASE, "method": {}}, [], "unknown key 'method'. Did you mean 'methods' or 'more_methods'?"),
        ({**BASE, "methods": {"x": {"plugins": ["finetune"], "training": {"epoch": 1}}}}, [], "Did you mean 'epochs'?"),
        ("name: [", [], "not YAML"),
        ("just text", [], "must be a mapping"),
        (changed("dataset", name="image_folder"), [], "needs a path"),
        (
            changed("dataset", name="image_folder", path="nowhere"),
            [],
            "no data at 'nowhere'. Correct the path",
        ),
        (changed("dataset", name="image_folder", path="x"), ["--data-root", "none"], "no data at 'none/x' or 'x'"),
        (changed("backbone", weights="gone.safetensors"), [], "gone.safetensors"),
    ],
)
def test_refused_before_anything_runs(
    spec: Any, arguments: list[str], expected: str, bench: Callable[..., str]
) -> None:
    assert expected in bench(spec, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (changed("backbone", name="vit_tiny_patch16_225", weights="random"), "Did you mean 'vit_tiny_patch16_224"),
        (changed("backbone", image_size=20), "20"),
    ],
)
def test_refused_when_the_backbone_is_built(spec: Any, expected: str, bench: Callable[..., str]) -> None:
    assert expected in bench(spec)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("kfpf(capacity=0)", "kfpf: capacity is 0, but must be at least 1"),
        ("gdumb(capacity=-3)", "gdumb: capacity is -3, but must be at least 1"),
        ("linear_probe+saft", "'linear_probe' freezes the backbone: there is nothing for 'saft' to choose from"),
        ("pet(size=500)", "LoRA: rank is 500, but must be between 1 and 192, the width"),
    ],
)
def test_refused_when_the_method_is_started(method: str, expected: str, bench: Callable[..., str]) -> None:
    assert expected in bench(BASE, "--methods", method)


def test_unknown_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "quikstart"]) == 2
    told = "unknown benchmark 'quikstart'. Did you mean 'quickstart'? All: clsuite list benchmarks"
    assert capsys.readouterr().err.strip().endswith(told)
    assert main(["bench", "gone.yaml"]) == 2
    assert "cannot read 'gone.yaml'" in capsys.readouterr().err


def test_unknown_device(bench: Callable[..., str]) -> None:
    assert "unknown device 'gpu'" in bench(BASE, "--device", "gpu")


def test_image_folders_that_are_broken(image_tree: Callable[..., Path], bench: Callable[..., str]) -> None:
    tree = image_tree()
    spec = {**BASE, "dataset": {"name": "image_folder", "path": str(tree)}, "scenario": {"tasks": 2}}
    broken = tree / "train" / "class1" / "3.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:40])
    assert f"cannot decode the image '{broken}'" in bench(spec)
    broken.write_bytes(whole)
    (tree / "train" / "empty").mkdir()
    assert f"class folder '{tree / 'train' / 'empty'}' holds no images" in bench(spec)
    (tree / "train" / "empty").rmdir()
    shutil.rmtree(tree / "test")
    assert "no test folder" in bench(spec)


def test_an_output_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert main(["bench", "quickstart", "--out", str(tmp_path / "file")]) == 2
    assert "cannot write into" in capsys.readouterr().err


def test_an_output_folder_that_only_refuses_when_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", refuse)
    out = tmp_path / "out"
    assert main(["bench", "quickstart", "--methods", "ncm", "--seeds", "0", "--out", str(out)]) == 2
    place = out / "quickstart"
    expected = (
        f"clsuite bench: cannot write into '{place}': No such file or directory. Choose another folder with --out."
    )
    assert capfd.readouterr().err == f"{expected}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["bench", "quickstart", "--epochs", "x"], "clsuite bench: --epochs is 'x', but must be a whole number"),
        (
            ["bench", "quickstart", "--methodss", "x"],
            "clsuite bench: unknown option '--methodss'. Did you mean '--methods'",
        ),
        (["bench", "quickstart", "--precision", "64"], "clsuite bench: unknown precision '64'. Known: "),
        (["list", "plugin"], "clsuite list: unknown list 'plugin'. Did you mean 'plugins'?"),
        (["--versoin"], "clsuite: unknown option '--versoin'. Did you mean '--version'?"),
        (
            ["leaderboard", "'"],
            "clsuite leaderboard: unknown command '''. Known: add, audit, build, check, confirm, rerun, s",
        ),
        (["leaderboard", "a b"], "clsuite leaderboard: unknown command 'a b'. Known: add, audit, build"),
        (
            ["bench", "quickstart", "--dry-run", "--methods", "ncm", "--name", "a\udcff"],
            r"clsuite bench: the name 'a\udcff' of a",
        ),
        (
            ["bench", "quickstart", "--dry-run", "--methods", "a\udcff=ncm"],
            r"clsuite bench: the name 'a\udcff' of a method",
        ),
        (["bnch"], "clsuite: unknown command 'bnch'. Did you mean 'bench'?"),
        (["bench"], "clsuite bench: BENCHMARK is missing. Try: clsuite bench --help"),
        (["tune", "quickstart"], "clsuite tune: --method is missing. Try: clsuite tune --help"),
        (["bench", "quickstart", "--seeds"], "clsuite bench: --seeds needs a value"),
        (["bench", "quickstart", "ncm"], "clsuite bench: unexpected argument 'ncm'. Try: clsuite bench --help"),
        (
            ["bench", "quickstart", "--dry-run", "--timeout", "soon"],
            "clsuite bench: --timeout is 'soon', but must be a number",
        ),
        (["bench", "quickstart", "--timeout", "-1"], "clsuite bench: --timeout is -1.0, but must be more than 0"),
        (
            ["bench", "quickstart", "--method", "ncm"],
            "clsuite bench: unknown option '--method'. Did you mean '--methods'",
        ),
        (["leaderboard", "chek"], "clsuite leaderboard: unknown command 'chek'. Did you mean 'check'?"),
        (["leaderboard"], "clsuite leaderboard: say what to do: clsuite leaderboard {add,submit,build,"),
        (["leaderboard", "check", "--nope"], "clsuite leaderboard: unknown option '--nope'. Known: --folder"),
        (["--print-completion", "fish"], "clsuite: unknown shell 'fish'. Known: bash, zsh."),
        (["bench", "quickstart", "--out", ""], "clsuite bench: --out: '' is not a path: it is empty"),
        (["show", "a\0b"], r"clsuite show: RECORD_OR_METHOD: 'a\x00b' is not a path"),
        (["bench", "quickstart", "--device", "gpu"], "clsuite bench: --device: unknown device 'gpu'"),
        (["show", "a", "b"], "clsuite show: unexpected argument 'b'. Try: clsuite show --help"),
        (["show", "a", "--", ""], "clsuite show: unexpected argument ''. Try: clsuite show --help"),
        (["analyze", "sensitivity", "--", "--"], "clsuite analyze: '--' is given twice: it may be once, before words"),
        (["bench", "quickstart", "--s", "0"], "clsuite bench: unknown option '--s'. Did you mean '--set' or '--seeds'"),
        (["check", "x", "--="], "clsuite check: unknown option '--'. Did you mean "),
        (["bench", "quickstart", "--jobs", "9" * 5000], "clsuite bench: --jobs: the number has too many digits"),
        (["show", "a\nb"], r"clsuite show: no record at 'a\nb'"),
        (["table", "/dev/null"], "clsuite table: cannot read the record '/dev/null': not a regular file"),
        (
            ["bench", "quickstart", "--methods", "json:loads"],
            "clsuite bench: plugin 'json:loads' of unknown distribution is broken: there is no class 'loads' in it",
        ),
        ([], "clsuite: say what to do"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    complaint = capsys.readouterr().err.strip()
    assert complaint.startswith(expected)
    assert "\n" not in complaint


@pytest.mark.parametrize(
    ("spec", "arguments", "expected"),
    [
        (BASE, ["--training", "epochs=[1, many]"], "epochs is 'many', but must be a whole"),
        (BASE, ["--training", "epochs=[]"], "training.epochs is an empty grid: give it a value"),
        (BASE, ["--training", "epochs=1, epochs=2"], "the setting 'epochs' is given twice"),
        (BASE, ["--training", "optimizer.lr=1, optimizer.lr=2"], "the setting 'optimizer.lr' is given twice"),
        (BASE, ["--eval-every", "9" * 25], "--eval-every is 9999999999999999999999999, but must be at most"),
        (BASE, ["--save-model=yes"], "--save-model takes no value, but 'yes' is given"),
        (BASE, ["--methods", "a=ncm,a=lwf"], "two methods are called 'a': give one of them another name"),
        ({**BASE, "methods": {"": "ncm"}}, [], "mine.yaml:11: methods: a method has an empty name"),
        ({**BASE, "methods": {" ": "ncm"}}, [], "mine.yaml:11: methods: a method has an empty name"),
        ({**BASE, "methods": {"a": {"lwf": {"alpha": []}}}}, [], "mine.yaml:12: methods.a: argument 'alpha' of plugin"),
        (
            {**BASE, "methods": {"a": {"lwf": {"alpha": [0.5, "x"]}}}},
            [],
            "mine.yaml:14: methods.a(alpha='x'): argument 'alpha' of plugin 'lwf' is 'x', but must be",
        ),
        (
            {**BASE, "methods": {"a": {"lwf": {"alpha": [*map(float, range(999))], "temperature": [1.0, 2.0]}}}},
            [],
            "mine.yaml:12: methods.a: the grid of 'a' has 1,998 points, but must have at most 1,000",
        ),
    ],
)
def test_what_would_be_taken_for_something_else(
    spec: Any, arguments: list[str], expected: str, bench: Callable[..., str]
) -> None:
    assert expected in bench(spec, *arguments)


@pytest.mark.parametrize("name", [".", ".."])
def test_a_folder_as_file_of_a_table(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Path(__file__).parents[2] / "leaderboard" / "records" / "quickstart" / "ncm"
    assert main(["table", str(record), "--format", "csv", "-o", name]) == 2
    assert f"cannot write '{name}': it is a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(13, "Permission denied", "locked/rows.json"), "'locked/rows.json': Permission denied"),
        (OSError(36, "File name too long", b"x" * 300), f"'{'x' * 100}…': File name too long"),
        (OSError(28, "No space left on device"), "a file: No space left on device"),
        (OSError(5, "Input/output error", 3), "a file: Input/output error"),
    ],
)
def test_what_the_system_refuses_in_passing_is_one_line(
    error: OSError, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("clsuite.report.gather.record_files", refuse)
    assert main(["table", "runs"]) == 2
    assert capsys.readouterr().err == f"clsuite table: cannot use {expected}\n"


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("own")

    monkeypatch.setattr("clsuite.report.gather.record_files", fail)
    with pytest.raises(ConnectionResetError, match="own"):
        main(["table", "runs"])


@pytest.mark.parametrize("content", ["name: [x]\n", "[]"])
def test_names_of_files_with_ends_of_lines_make_no_lines(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a\nb.yaml").write_text(content)
    assert main(["bench", "a\nb.yaml", "--dry-run"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert all(r"a\nb.yaml" in line for line in told), told
