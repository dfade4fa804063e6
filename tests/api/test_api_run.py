"""`clsuite.run`, `RunResult` and `load_model` as a notebook or a script uses them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

import clsuite
from clsuite.api.progress import RunProgress
from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.metrics import METRICS
from clsuite.runner.methods import MethodSpec
from clsuite.runner.spec import load_benchmark
from clsuite_plugins.ncm import NCM

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"name": "digits", "train_per_class": 4, "test_per_class": 4},
    "scenario": {"tasks": 5},
    "training": {"epochs": 1},
    "methods": {"mine": "ncm", "two": ["lwf", {"replay": {"capacity": 20}}]},
}
METHOD = """
from clsuite.plugin import Plugin


class Shrink(Plugin):
    def __init__(self, alpha: float = 0.1) -> None:
        super().__init__()
        self.alpha = alpha

    def loss(self, learner, step):
        return self.alpha * step.logits.square().mean()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("notebook")
    (place / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    (place / "methods").mkdir()
    (place / "methods" / "a+b.py").write_text(METHOD)
    return place


@pytest.fixture(scope="module")
def result(folder: Path) -> clsuite.RunResult:
    """A run of a method in a file whose path has a '+', done by a script without a main guard."""
    script = """
    import sys
    import clsuite
    assert not {"torch", "lightning", "numpy"} & set(sys.modules)
    result = clsuite.run("tiny.yaml", "'methods/a+b.py'(alpha=0.3)", limit_tasks=2, device="cpu", save_model=True)
    assert "torch" not in sys.modules
    print(result.path)
    """
    (folder / "script.py").write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    path = folder / done.stdout.strip()
    return clsuite.RunResult(clsuite.read_record(path), path, [folder / "methods"])


@pytest.mark.slow
def test_a_result_shows_itself(result: clsuite.RunResult) -> None:
    record = result.record
    assert record.method == "'a+b.py'(alpha=0.3)"
    assert record.plugins[0].name == "a+b.py"
    assert result.matrix.shape == (2, 2)
    assert record.counts is not None
    np.testing.assert_allclose(result.matrix * record.counts.n, np.array(record.counts.class_incremental)[1:])
    assert set(result.metrics) == set(METRICS)
    assert result.metrics["final_accuracy_macro"] == pytest.approx(result.matrix[-1].mean())
    assert repr(result).startswith("<'a+b.py'(alpha=0.3), seed 0 on tiny: final acc. ")
    figure = result.plot()
    assert figure.axes[0].get_title() == "'a+b.py'(alpha=0.3), seed 0"
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook shows
    shown = result._repr_html_()
    assert "&#x27;a+b.py&#x27;(alpha=0.3)</b> on tiny" in shown
    assert "src='data:image/png;base64,iVBOR" in shown
    assert result.predictions["labels"].shape == (sum(record.counts.n),)


@pytest.mark.slow
def test_rows_and_frame(result: clsuite.RunResult, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = result.rows()
    assert [(row["task"], row["part"], row["learned"]) for row in rows] == [
        (task, name, part <= task) for task in range(2) for part, name in enumerate(result.record.scenario.task_names)
    ]
    assert [row["accuracy"] for row in rows] == pytest.approx(result.matrix.flatten().tolist())
    assert all(row["correct"] == round(row["accuracy"] * row["n"]) for row in rows)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="to_frame needs pandas: pip install pandas"):
        result.to_frame()
    pandas = ModuleType("pandas")
    pandas.DataFrame = list  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert result.to_frame() == rows


def test_a_saved_model_of_a_file_is_loaded_with_the_source_that_ran(
    result: clsuite.RunResult, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.zeros((3, 1, 32, 32), np.uint8)
    assert len(result.load_model().predict(rows)) == 3
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"'a\+b.py', whose code would run: name its folder with load_model\(record, fold"
    ):
        clsuite.load_model(result.path)
    changed = METHOD.replace("0.1", "0.2")
    (tmp_path / "a+b.py").write_text(changed)
    with pytest.raises(UserError, match=r"plugin 'a\+b.py' \(.*\) has changed since the run.*allow_changed=True"):
        clsuite.load_model(result.path, folders=[tmp_path])
    model = clsuite.load_model(result.path, folders=[tmp_path], allow_changed=True)
    same = clsuite.load_model(result.path, folders=[folder / "methods"])
    np.testing.assert_array_equal(same.predict(rows), model.predict(rows))


@pytest.mark.slow
def test_run_reads_what_bench_has_done(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = folder / "tiny.yaml"
    given = ["bench", str(tiny), "--limit-tasks", "1", "--seeds", "0", "--device", "cpu", "--methods", "mine,ncm"]
    assert main(given) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("seed*.json")}
    assert len(before) == 2
    forms: list[Any] = ["mine", "ncm", ["ncm"], [{"ncm": {}}], {"ncm": {}}, NCM, [NCM]]
    for form in [*forms, MethodSpec.model_validate("ncm")]:
        assert clsuite.run(tiny, form, limit_tasks=1, device="cpu").path.resolve() in before, form
    spec, _ = load_benchmark(str(tiny))
    assert clsuite.run(spec, NCM, name="mine", limit_tasks=1, device="cpu").path.resolve() in before
    more = {"methods": {"two": spec.methods["two"]}, "more_methods": {"mine": spec.methods["mine"]}}
    moved = spec.model_copy(update=more)
    assert clsuite.run(moved, "mine", name="mine", limit_tasks=1, device="cpu").path.resolve() in before
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_settings_make_another_run_and_the_table_tells(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny, spec = folder / "tiny.yaml", load_benchmark(str(folder / "tiny.yaml"))[0]
    usual = clsuite.run(tiny, "ncm", limit_tasks=1, device="cpu", progress=False)
    settings = {"training.batch_size": 8, "training.optimizer": {"lr": 0.5}}
    other = clsuite.run(tiny, "ncm", limit_tasks=1, device="cpu", progress=False, settings=settings)
    assert usual.path.parent == other.path.parent
    assert usual.record.key != other.record.key
    assert other.record.config["training"]["batch_size"] == 8
    again = clsuite.run(spec, NCM, limit_tasks=1, device="cpu", progress=False, settings=settings)
    assert again.record == other.record
    given = ["bench", str(tiny), "--methods", "ncm", "--limit-tasks", "1", "--seeds", "0", "--dry-run"]
    words = [*given, "--set", "training.batch_size=8", "--set", "training.optimizer.lr=0.5", "--device", "cpu"]
    assert main(words) == 0
    assert f"done   ncm, seed 0  {other.path}" in capsys.readouterr().out
    assert main(["table", "runs"]) == 0
    told = capsys.readouterr().err
    assert "left out, older: ncm, seed 0: training.batch_size 32 -> 8, training.optimizer.lr 0.001 -> 0.5" in told


@pytest.mark.slow
def test_bench_does_many_runs_and_reads_them_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = folder / "tiny.yaml"
    given: dict[str, Any] = {"limit_tasks": 1, "device": "cpu", "jobs": 2}
    results = clsuite.bench(tiny, {"a": NCM, "ncm": "ncm", "lwf": "lwf"}, seeds=[0], **given)
    assert [(one.record.method, one.record.seed) for one in results] == [("a", 0), ("ncm", 0), ("lwf", 0)]
    assert "[3 of 3] " in capsys.readouterr().out
    first, second, third = results
    for methods in ("ncm,lwf", ["ncm", "lwf"], [NCM, ["lwf"]], [{"ncm": {}}, MethodSpec.model_validate("lwf")]):
        again = clsuite.bench(tiny, methods, seeds=[0], progress=False, **given)
        assert [one.record for one in again] == [second.record, third.record], methods
    assert capsys.readouterr().out == ""
    assert clsuite.compare([first], [third]).seeds == (0,)


@pytest.mark.slow
def test_bench_says_which_runs_failed_and_keeps_the_others(
    folder: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    broken = tmp_path / "breaks.py"
    broken.write_text(METHOD.replace("return self.alpha", "return undefined_name"))
    given: dict[str, Any] = {"limit_tasks": 1, "device": "cpu", "seeds": [0], "out": tmp_path, "progress": False}
    with pytest.raises(UserError, match=r"failed: breaks.py, seed 0: NameError: .*undefined_name.* \(see .*json\)"):
        clsuite.bench(folder / "tiny.yaml", ["ncm", str(broken)], **given)
    (kept,) = clsuite.bench(folder / "tiny.yaml", ["ncm", str(broken)], partial=True, **given)
    assert kept.record.method == "ncm"
    assert any("failed: breaks.py, seed 0" in str(one.message) for one in recwarn)


@pytest.mark.slow
def test_tune_chooses_and_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {"tasks": 2, "limit_tasks": 2, "validation": 0.25, "device": "cpu", "progress": False}
    found = clsuite.tune(folder / "tiny.yaml", "replay", "capacity=[2, 20]", [0], **given)
    assert found.chosen["capacity"] in (2, 20)
    assert [trial.values for trial in found.trials] == [{"capacity": 2}, {"capacity": 20}]
    (result,) = found.results
    assert result.record.plugins[0].args["capacity"] == found.chosen["capacity"]
    assert result.record.tuning is not None
    assert result.record.tuning.chosen == found.chosen
    with pytest.raises(UserError, match="unknown metric 'x'"):
        clsuite.tune(folder / "tiny.yaml", "replay", "capacity=[2]", metric="x")


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("ncmm", {}, "unknown plugin 'ncmm'. Did you mean 'ncm'"),
        ("mine,two", {}, r"run takes one method, not 2 \(mine, two\)"),
        ([{"replay": {"capacity": [1, 2]}}], {}, "the method is a grid of 2"),
        ([3], {}, r"cannot read the method \[3\]: give a string such as"),
        (["replay(capacity='x')"], {}, "argument 'capacity' of plugin 'replay' is 'x'"),
        ("ncm", {"seed": "one"}, "seed is 'one', but must be a whole number"),
        ("ncm", {"seed": [0, 1]}, r"seed is \[0, 1\], but must be a whole number; clsuite.bench takes several"),
        ("ncm", {"seed": -1}, "seed is -1, but must not be negative"),
        ("ncm", {"limit_tasks": 0}, "limit_tasks is 0, but must be at least 1"),
        ("ncm", {"limit_tasks": 9}, "the first 9 tasks are requested, but the stream has 5"),
        ("ncm", {"timeout": 0}, "timeout is 0, but must be more than 0"),
        ("ncm", {"limit_task": 2}, "unknown option 'limit_task'. Did you mean 'limit_tasks'"),
        ("ncm", {"settings": {"training.epoch": 2}}, "unknown key 'training.epoch'. Did you mean 'epochs'"),
        ("ncm", {"settings": {"scenario": {"task": 2}}}, "unknown key 'scenario.task'. Did you mean 'tasks'"),
        ("ncm", {"training": {"epoch": 1}}, "training key of this call: 'epoch'. Did you mean 'epochs'"),
    ],
)
def test_bad_input_is_one_line(folder: Path, method: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        clsuite.run(folder / "tiny.yaml", method, **given)
    assert "\n" not in str(caught.value)


def test_a_class_without_a_file_is_refused() -> None:
    class Local(NCM):
        pass

    with pytest.raises(UserError, match=r"has no file of its own.*%%writefile my_method.py"):
        clsuite.run("quickstart", Local)


def test_a_run_that_fails_says_why(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "breaks.py"
    broken.write_text(METHOD.replace("return self.alpha", "return undefined_name"))
    with pytest.raises(UserError, match=r"failed: breaks.py, seed 0: NameError: .*undefined_name.* \(see .*json\)"):
        clsuite.run(folder / "tiny.yaml", str(broken), limit_tasks=1, device="cpu", out=tmp_path)


@pytest.mark.parametrize(
    ("console", "shown"),
    [({"force_jupyter": True}, "a plan: task 1/2 is learned\n"), ({"force_terminal": True}, None), ({}, "")],
)
def test_progress_where_it_can_be_seen(
    console: dict[str, bool], shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = StringIO()
    target = Console(file=printed, width=80, **console)  # type: ignore[arg-type]
    lines: list[str] = []
    if target.is_jupyter:
        monkeypatch.setattr(target, "print", lambda text, **_: lines.append(f"{text}\n"))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    plan: Any = type("Plan", (), {"name": "a plan"})()
    with RunProgress(target) as bar:
        bar.on_event(plan, {"kind": "start"})
        bar.on_event(
            plan, {"kind": "progress", "task": 0, "tasks": 2, "epoch": 0, "epochs": 1, "loss": 1.5, "done": 0.2}
        )
        bar.on_event(plan, {"kind": "progress", "task": 0, "tasks": 2, "done": 0.5})
        bar.on_event(plan, {"kind": "end", "status": "done"})
    text = "".join(lines) or printed.getvalue()
    assert "a plan" in text if shown is None else text == shown


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ran'"):
        clsuite.ran  # noqa: B018
    assert {"run", "load_model", "read_record"} <= set(dir(clsuite))
