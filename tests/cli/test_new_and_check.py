"""``clsuite new`` and ``clsuite check``: every template as it is written, what is refused, and the report."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from clsuite.cli.main import main

KINDS = ("loss", "predict", "buffer", "peft", "weights")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_method_passes_the_check_and_its_own_test(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"my_{kind}"
    assert main(["new", name, "--kind", kind]) == 0
    assert f"clsuite check ./{name}.py" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.py", f"test_{name}.py"]
    assert len((folder / f"{name}.py").read_text().splitlines()) < 60
    status = main(["check", f"./{name}.py"])
    shown = capsys.readouterr().out
    assert status == 0, shown
    assert "nothing found" in shown
    spec = importlib.util.spec_from_file_location(f"test_{name}", folder / f"test_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    by_hand = [test for test in vars(module) if test.startswith("test_") and test != "test_conforms"]
    assert by_hand
    for test in by_hand:
        vars(module)[test]()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["loss", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in KINDS[1:])])
def test_a_new_method_runs_as_written(kind: str, folder: Path) -> None:
    name = f"my_{kind}"
    assert main(["new", name, "--kind", kind]) == 0
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"test_{name}.py"], capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout
    assert main(["bench", "quickstart", "--methods", f"./{name}.py"]) == 0
    assert len(list((folder / "runs").rglob("seed*.json"))) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my-method"], "'my-method' is not a name for a method"),
        (["1st"], "'1st' is not a name for a method"),
        (["class"], "'class' is not a name for a method"),
        (["MyMethod"], "'MyMethod' has capitals: methods are named in lower case, such as 'mymethod'"),
        (["replay"], "the name 'replay' is taken by a plugin of clsuite"),
        (["torch"], "'torch' is the name of an installed module, which 'torch.py' would shadow"),
        (["random"], "choose another name, such as 'my_random'"),
        (["clsuite"], "'clsuite' is the name of an installed module"),
        (["mine", "--kind", "bufer"], "Did you mean 'buffer'?"),
        (["there"], "'there.py' already exists and is not overwritten"),
        (["tested"], "'test_tested.py' already exists and is not overwritten"),
        (["mine", "--out", "there.py"], "cannot write 'there.py/mine.py'"),
    ],
)
def test_what_new_refuses(arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "there.py").write_text("mine\n")
    (folder / "test_tested.py").write_text("mine\n")
    assert main(["new", *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["test_tested.py", "there.py"]
    assert (folder / "there.py").read_text() == "mine\n"


@pytest.mark.slow
def test_check_names_the_fault_its_line_and_the_fix(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "mine"]) == 0
    path = folder / "mine.py"
    path.write_text(path.read_text().replace("square().mean()", "square().mean().item()"))
    capsys.readouterr()
    assert main(["check", "./mine.py"]) == 1
    shown = capsys.readouterr().out
    assert "✗ loss: failed: adds a scalar tensor to the loss" in shown
    assert "mine.py:25  return self.alpha * step.logits.square().mean().item()" in shown
    assert "fix: return the scalar tensor itself, without .item() or float()" in shown
    assert "✓ resumes bit-identically after an interruption" in shown
    assert "1 finding in" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reply"], "unknown plugin 'reply'. Did you mean 'replay'?"),
        (["./absent.py"], "no plugin file at 'absent.py'"),
        (["./broken.py"], "plugin './broken.py' is not Python: SyntaxError in line 1"),
        (["clsuite_plugins.replay:Reply"], "there is no class 'Reply' in it"),
        (["replay(capcity=3)"], "unknown argument of plugin 'replay': 'capcity'"),
        (["replay(capacity=None)"], "capacity"),
        (["joint+replay"], "'joint' and 'replay' cannot be combined: joint training has all data already"),
        (["replay", "--head", "linar"], "Did you mean 'linear'?"),
        ([], "PLUGIN is missing"),
    ],
)
def test_what_check_refuses(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.py").write_text("def f(:")
    assert main(["check", *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
