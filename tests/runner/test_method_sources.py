"""Methods from files and importable classes, and grids of arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clsuite.cli.main import main
from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin, load_class
from clsuite.records import read_record
from clsuite.runner.grid import expand_grid
from clsuite.runner.methods import MethodSpec

METHOD = '''"""A method."""

import torch

from clsuite.plugin import Plugin

__version__ = "0.3"


class Shrink(Plugin):
    """Adds the size of the logits to the loss."""

    def __init__(self, alpha: float = 0.1) -> None:
        super().__init__()
        self.alpha = alpha

    def loss(self, learner, step):
        return self.alpha * step.logits.square().mean()
'''
BENCHMARK = """
name: tiny
dataset: {name: digits, train_per_class: 4, test_per_class: 4}
scenario: {tasks: 5}
training: {epochs: 1}
seeds: [0]
methods:
  shrink: {plugins: [{./my_method.py: {alpha: [0.1, 0.3]}}]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_method.py").write_text(METHOD)
    (tmp_path / "tiny.yaml").write_text(BENCHMARK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_file_and_an_importable_class_are_the_same_plugin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    by_file, source = find_plugin("./my_method.py")
    by_module, _ = find_plugin("my_method:Shrink")
    assert by_file.source == by_module.source == source
    assert (by_file.name, by_file.distribution) == ("my_method.py", "my_method.py 0.3")
    assert load_class(by_file).__name__ == load_class(by_module).__name__ == "Shrink"
    assert load_class(by_file) is load_class(find_plugin(str(folder / "my_method.py:Shrink"))[0])


def test_a_class_that_an_entry_point_names_is_that_plugin() -> None:
    assert find_plugin("clsuite_plugins.replay:Replay") == find_plugin("replay")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "./my_method.py", "has no class that derives from"),
        (METHOD + METHOD.replace("Shrink", "Other"), "./my_method.py", r"several classes .*my_method.py:Shrink"),
        ("def f(:", "./my_method.py", "is not Python: SyntaxError in line 1"),
        ("import absent_thing\n" + METHOD, "./my_method.py", "line 1: no module named 'absent_thing'"),
        (METHOD, "./my_method.py:Srink", "there is no class 'Srink'"),
        ("def make_strategy(model): ...", "./my_method.py:make_strategi", "class or function .* mean 'make_strategy'"),
        (METHOD, "./absent.py", "no plugin file at 'absent.py'"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(folder: Path, text: str, name: str, message: str) -> None:
    (folder / "my_method.py").write_text(text)
    with pytest.raises(UserError, match=message):
        find_plugin(name)


@pytest.mark.slow
def test_a_class_that_is_no_plugin_is_refused(folder: Path) -> None:
    (folder / "my_method.py").write_text("class A(dict):\n    pass\n")
    with pytest.raises(UserError, match="is not a subclass"):
        load_class(find_plugin("./my_method.py")[0])


@pytest.mark.parametrize(
    ("name", "method", "written", "expected"),
    [
        ("m", "m", True, {"m": [{}]}),
        ("m(a=[1, 2])", "m(a=[1, 2])", True, {"m(a=1)": [{"a": 1}], "m(a=2)": [{"a": 2}]}),
        ("m(a=[[1, 2]])", "m(a=[[1, 2]])", True, {"m(a=[1, 2])": [{"a": [1, 2]}]}),
        ("./d/m.py+n", "./d/m.py+n", True, {"m.py+n": [{}, {}]}),
        ("er", {"m": {"a": [1, 2], "b": 3}}, False, {"er(a=1)": [{"a": 1, "b": 3}], "er(a=2)": [{"a": 2, "b": 3}]}),
        ("er", "m(a=[1])+n(a=[2])", False, {"er(m.a=1, n.a=2)": [{"a": 1}, {"a": 2}]}),
    ],
)
def test_lists_are_grids(name: str, method: Any, written: bool, expected: dict[str, list[dict[str, Any]]]) -> None:
    found = expand_grid(name, MethodSpec.model_validate(method), written)
    assert {key: [use.args for use in spec.plugins] for key, spec in found.items()} == expected


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(UserError, match="argument 'a' of plugin 'm' is an empty grid"):
        expand_grid("m", MethodSpec.model_validate("m(a=[])"), True)


@pytest.mark.slow
def test_bench_runs_a_file(folder: Path) -> None:
    given = ["bench", "tiny.yaml", "--limit-tasks", "1", "--jobs", "1", "--device", "cpu"]
    assert main([*given, "--methods", "./my_method.py(alpha=0.3)"]) == 0
    (path,) = (folder / "runs").rglob("seed0-*.json")
    record = read_record(path)
    assert record.method == "my_method.py(alpha=0.3)"
    (entry,) = record.plugins
    assert (entry.name, entry.args, entry.distribution) == ("my_method.py", {"alpha": 0.3}, "my_method.py 0.3")
    source = find_plugin("./my_method.py")[1]
    assert entry.source == source.sha256
    assert str(folder) not in path.read_text()


def test_a_grid_in_yaml_is_several_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "tiny.yaml", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "shrink(alpha=0.1), seed 0" in shown
    assert "shrink(alpha=0.3), seed 0" in shown
