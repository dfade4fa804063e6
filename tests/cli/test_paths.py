"""Wherever a path can be given, `~` is the home folder, and what can be no path is one line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.cli.commands.base import DEVICE, PATH, PATH_OR_NAME, NumberType, WordType
from clsuite.cli.main import main
from clsuite.cli.parser import make_parser
from clsuite.config.paths import home_path
from clsuite.data.datasets import locate
from clsuite.errors import UserError
from clsuite.plugin.catalog import find_plugin
from clsuite.runner.streams import find_stream_file
from clsuite.scenarios import ScenarioSpec

NO_PATHS = {
    "methods", "seeds", "device", "training", "method", "space", "metric", "columns", "name", "rows", "drop", "curve",
    "settings", "executor_options", "older_than", "down_to", "log", "orders", "benchmarks", "states_at",
}  # fmt: skip
"""Arguments of text that are no paths."""


def text_arguments() -> Iterator[tuple[str, argparse.Action]]:
    """Every argument that takes a text, of every command and of the commands below it."""
    (commands,) = [one for one in make_parser()._actions if isinstance(one, argparse._SubParsersAction)]
    todo = list(commands.choices.items())
    while todo:
        command, parser = todo.pop()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                todo += [(f"{command} {name}", one) for name, one in action.choices.items()]
            elif action.nargs != 0 and not isinstance(action.type, NumberType | WordType):
                yield command, action


ARGUMENTS = list(text_arguments())


@pytest.mark.parametrize(("command", "action"), ARGUMENTS, ids=lambda one: getattr(one, "dest", one))
def test_every_argument_that_is_a_path_is_of_their_type(command: str, action: argparse.Action) -> None:
    assert action.type in (PATH, PATH_OR_NAME, DEVICE) or action.dest in NO_PATHS, f"{command}: {action.dest}"
    assert not (action.type == PATH and action.dest in NO_PATHS)


def test_many_arguments_are_walked() -> None:
    assert sum(action.dest in NO_PATHS for _, action in ARGUMENTS) > 12
    assert sum(action.type == PATH for _, action in ARGUMENTS) > 15
    assert sum(action.type == PATH_OR_NAME for _, action in ARGUMENTS) >= 6


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for one in (folder, elsewhere):
        one.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(elsewhere)
    return folder


@pytest.mark.slow
def test_a_home_folder_after_an_equals_sign(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "b.yaml").write_text("name: b\ndataset: {name: digits}\nmethods: {ncm: ncm}\nseeds: [0]\n")
    assert main(["bench", "~/b.yaml", "--out=~/runs", "--data-root=~/data", "--dry-run"]) == 0
    assert f"{home}/runs/b/ncm/seed0-" in capsys.readouterr().out
    assert main(["new", "my_method", "--out=~/new"]) == 0
    assert (home / "new" / "my_method.py").is_file()
    assert main(["check", "~/nothing.py"]) == 2
    assert f"no plugin file at '{home}/nothing.py'" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_home_folders_in_benchmarks(home: Path) -> None:
    (home / "w.pth").write_text("x")
    (home / "stream.py").write_text("")
    (home / "plugin.py").write_text("from clsuite.plugin import Plugin\n\nclass Own(Plugin):\n    pass\n")
    assert locate("~/w.pth", None) == locate("~/w.pth", Path("nowhere")) == home / "w.pth"
    assert find_weights(BackboneSpec(weights="~/w.pth"), [Path()]).path == home / "w.pth"
    stream = find_stream_file(ScenarioSpec.model_validate({"kind": "avalanche", "path": "~/stream.py"}), [Path()])
    assert stream.root.path == str(home / "stream.py")  # type: ignore[union-attr]
    assert find_plugin("~/plugin.py", [Path()])[0].target == f"{home}/plugin.py:Own"


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("~nobody-here/x", "there is no home folder of 'nobody-here' for the path '~nobody-here/x'"),
        ("", "'' is not a path: it is empty or has a zero byte"),
        ("a\0b", r"'a\x00b' is not a path: it is empty or has a zero byte"),
        ("x" * 300, f"the path '{'x' * 100}…' is too long: a name has at most 255 bytes"),
        ("a/" * 3000, "is too long: a name has at most 255 bytes, a path 4096"),
        ("\ud800", r"'\ud800' is not a path: it cannot be written in UTF-8"),
    ],
)  # fmt: skip
def test_what_is_no_path_is_one_line(path: str, complaint: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as caught:
        home_path(path)
    assert complaint in str(caught.value)
    for words in (["bench", "quickstart", "--dry-run", "--out", path], ["list", "datasets", "--data-root", path],
                  ["new", "my_method", "--out", path], ["show", path], ["table", path],
                  ["pretrain", "x", "--out", path], ["leaderboard", "check", "--folder", path]):  # fmt: skip
        assert main(words) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1, told
        assert complaint in told
    assert list(Path().iterdir()) == list(home.iterdir()) == []
