"""Errors say what, where and what may be meant, in one line for people and apart for programs."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from clsuite.cli.main import main
from clsuite.config.yaml_models import load_yaml
from clsuite.errors import LISTING, UserError, did_you_mean, several
from clsuite.plugin.catalog import find_plugin
from clsuite.runner.options import RunOptions
from clsuite.runner.resolve import resolve_methods
from clsuite.runner.spec import BenchmarkSpec, load_benchmark, with_lines

HEAD = """name: tiny
dataset: {name: digits, train_per_class: 20}
scenario: {tasks: 5}
seeds: [0]
methods:
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(error: UserError) -> tuple[str | None, int | None, str | None, str | None]:
    return (error.path.name if error.path else None, error.line, error.field, error.suggestion)


def test_an_error_has_its_parts_and_is_one_line() -> None:
    error = UserError("it is wrong", path="a.yaml", line=3, field="b.c", suggestion="d")
    assert (str(error), error.message, *told(error)) == ("it is wrong", "it is wrong", "a.yaml", 3, "b.c", "d")
    placed = UserError.in_file(Path("x.yaml"), 7, error)
    assert (str(placed), placed.message, *told(placed)) == (
        "x.yaml:7: it is wrong", "it is wrong", "x.yaml", 7, "b.c", "d"
    )  # fmt: skip
    assert told(UserError("plain")) == (None, None, None, None)


def test_an_error_comes_whole_out_of_another_process() -> None:
    error = UserError.in_file(Path("x.yaml"), 7, UserError("it is wrong", field="b", suggestion="c"))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.message, told(again)) == (str(error), error.message, told(error))


def test_several_mistakes_have_the_place_of_the_first() -> None:
    errors = [UserError.in_file(Path("x.yaml"), line, UserError("no", field=f"f{line}")) for line in (2, 5)]
    both = several(errors)
    assert (str(both), told(both)) == ("x.yaml:2: no\nx.yaml:5: no", ("x.yaml", 2, "f2", None))
    assert several(errors[:1]) is errors[0]


def test_unknown_names_list_the_five_nearest_and_the_command_that_lists_all() -> None:
    error = did_you_mean("plugin", "plug", [f"plug{number}" for number in range(9)])
    nearest = " or ".join(f"'plug{number}'" for number in range(5))
    assert str(error) == f"unknown plugin 'plug'. Did you mean {nearest}? All: clsuite list plugins"
    assert (error.field, error.suggestion) == ("plug", "plug0")
    far = did_you_mean("benchmark", "zzz", ["a", "b"])
    assert (str(far), far.suggestion) == ("unknown benchmark 'zzz'. Known: a, b. All: clsuite list benchmarks", None)


@pytest.mark.parametrize("command", sorted({*LISTING.values()}))
def test_the_commands_that_list_all_are_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()[1:]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


@pytest.mark.parametrize(
    ("text", "line", "field", "suggestion"),
    [
        (HEAD.replace("seeds", "seds") + "  a: ncm\n", 4, "seds", "seeds"),
        (HEAD.replace("tasks: 5", "tasks: many") + "  a: ncm\n", 3, "scenario.tasks", None),
        (HEAD + "  a: {\n", 7, None, None),
        (HEAD + "  a: ncm\n  a: replay\n", 7, None, None),
    ],
)
def test_a_mistake_in_a_yaml_file_has_its_place(
    text: str, line: int, field: str | None, suggestion: str | None
) -> None:
    Path("tiny.yaml").write_text(text)
    with pytest.raises(UserError) as raised:
        load_yaml(Path("tiny.yaml"), BenchmarkSpec)
    assert told(raised.value) == ("tiny.yaml", line, field, suggestion)
    assert str(raised.value) == f"tiny.yaml:{line}: {raised.value.message}"


MISTAKES = {
    "unknown plugin": ("  a: ncm\n  b: reply\n", 7, "methods.b.reply", "replay", "unknown plugin 'reply'"),
    "unknown plugin of several": (
        "  b:\n    - lwf\n    - reply\n", 8, "methods.b.reply", "replay", "unknown plugin 'reply'",
    ),
    "unknown argument": (
        "  b:\n    - lwf\n    - replay:\n        capacity: 20\n        bufer: herding\n", 10, "methods.b.bufer",
        "buffer", "unknown argument of plugin 'replay': 'bufer'",
    ),
    "unknown argument in a line": (
        "  b:\n    - lwf\n    - replay(capcity=20)\n", 8, "methods.b.capcity", "capacity", "unknown argument",
    ),
    "wrong type": (
        "  b:\n    replay:\n      batch_size: 8\n      capacity: many\n", 9, "methods.b.capacity", None,
        "argument 'capacity' of plugin 'replay' is 'many', but must be a whole number or null",
    ),
    "unknown key in training": (
        "  b:\n    plugins: [lwf]\n    training:\n      optimizer:\n        lrr: 0.1\n", 10, "methods.b.optimizer.lrr",
        "optimizer.lr", "unknown training key of method with 'lwf': 'optimizer.lrr'",
    ),
    "wrong type in training": (
        "  b:\n    plugins: [lwf]\n    training:\n      epochs: two\n", 9, "methods.b.training.epochs", None,
        "epochs is 'two', but must be a whole number",
    ),
    "unknown file": ("  b: ./absent.py\n", 6, "methods.b", None, "no plugin file at"),
    "plugins that do not go together": ("  a: lwf\n  b: [replay, ncm]\n", 7, "methods.b", None, "cannot be combined"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISTAKES)
@pytest.mark.parametrize("place", ["methods", "more_methods"])
def test_a_mistake_below_methods_has_its_line(kind: str, place: str) -> None:
    text, line, field, suggestion, message = MISTAKES[kind]
    more = place == "more_methods"
    head = HEAD.replace("methods:", "methods: {x: finetune}\nmore_methods:") if more else HEAD
    Path("tiny.yaml").write_text(head + text)
    spec, path = load_benchmark("tiny.yaml")
    with pytest.raises(UserError) as raised, with_lines(path):
        resolve_methods(spec, RunOptions(out=Path("runs"), methods=["all"] if more else []), path.parent)
    assert told(raised.value) == ("tiny.yaml", line + more, field, suggestion)
    assert str(raised.value).startswith(f"tiny.yaml:{line + more}: methods.b: ")
    assert message in str(raised.value)


def test_a_mistake_in_methods_is_told_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tiny.yaml").write_text(HEAD + "  a: ncm\n  b:\n    replay:\n      capcity: 20\n")
    assert main(["bench", "tiny.yaml", "--dry-run"]) == 2
    assert "tiny.yaml:9: methods.b: unknown argument of plugin 'replay': 'capcity'. Did you mean 'capacity'" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("class Mine(\n", 1),
        ("from clsuite.plugin import Plugin\n\nclass Mine(Plugin):\n    async def loss(self, learner, step): ...\n", 4),
        ("import os\nimport absent_thing\nfrom clsuite.plugin import Plugin\nclass Mine(Plugin): ...\n", 2),
    ],
)
def test_a_mistake_in_a_plugin_file_has_its_place(text: str, line: int) -> None:
    Path("mine.py").write_text(text)
    with pytest.raises(UserError) as raised:
        find_plugin("./mine.py")
    assert told(raised.value)[:2] == ("mine.py", line)
