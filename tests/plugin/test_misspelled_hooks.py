"""Hooks that are none are named with their line: nothing else would ever tell."""

from __future__ import annotations

import inspect
from pathlib import Path

import lightning as L
import pytest

from clsuite.cli.main import main
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog
from clsuite.plugin.misspelled_hooks import HOOKS, LIGHTNING, doubts, untyped

HEAD = "from clsuite.plugin import Plugin, Traits\n\nclass Own(Plugin):\n"
PASS = "        return None\n"


def own(body: str) -> str:
    return HEAD + "".join(f"    {line}\n" for line in body.splitlines())


def test_the_hooks_are_those_of_the_base_class() -> None:
    ours = {
        name: tuple(inspect.signature(hook).parameters)[1:]
        for name, hook in vars(Plugin).items()
        if inspect.isfunction(hook)
    }
    assert set(ours) <= set(HOOKS)
    assert all(HOOKS[name] == arguments for name, arguments in ours.items())
    theirs = {name for name in vars(L.Callback) if not name.startswith("_")}
    assert theirs <= {*HOOKS, *LIGHTNING}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def losss(self, learner, step):\n    return None", "`losss` is not a hook; did you mean `loss`?"),
        ("def on_task_begin(self, learner, task):\n    pass", "`on_task_begin` is not a hook; did you mean `on_task_s"),
        ("def on_taks_end(self, learner, task):\n    pass", "`on_taks_end` is not a hook; did you mean `on_task_end`"),
        ("def train_batch(self, learner, batch):\n    return batch", "`train_batch` is not a hook"),
        ("def on_epoch(self):\n    pass", "`on_epoch` is not a hook"),
        ("def predicts(self, a, b):\n    pass", "`predicts` is not a hook; did you mean `predict`?"),
        ("def regularize(self, learner, step):\n    pass", "`regularize` is not a hook of that name, and nothing"),
        ("pass", "'Own' overrides no hook: it is fine-tuning under another name"),
        ("def __init__(self) -> None:\n    super().__init__()", "'Own' overrides no hook"),
        ("def loss(self, step):\n    pass", "`loss` takes (self, step), but is called with (self, learner, step)"),
        ("def loss(self, learner, step, x):\n    pass", "`loss` takes (self, learner, step, x), but is called with"),
        ("def loss(self, learner, step, *, x):\n    pass", "`loss` takes (self, learner, step, *, x), but is called"),
        ("def stored_bytes(self, learner):\n    pass", "`stored_bytes` takes (self, learner), but is called with"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named(body: str, message: str) -> None:
    (doubt,) = doubts(own(body), "Own")
    assert doubt.message.startswith(message)
    assert doubt.line == (3 if body == "pass" or "__init__" in body else 4)
    assert doubt.fix


@pytest.mark.parametrize(
    "body",
    [
        "def loss(self, learner, step):\n    return self.term(learner)\ndef term(self, learner):\n    return None",
        "def on_train_batch_end(self, trainer, learner, outputs, batch, batch_idx):\n    pass",
        "def loss(self, *args):\n    return None",
        "def loss(self, learner, step, scale=2):\n    return None",
        "def loss(self, learner, step):\n    return None\n@property\ndef losses(self):\n    return 1",
        "def loss(self, learner, step):\n    return None\ndef update(self, x):\n    return x",
        "def loss(self, learner, step):\n    return None\ndef _losss(self, learner):\n    return 1",
    ],
)
def test_what_can_be_meant_is_left_alone(body: str) -> None:
    assert doubts(own(body), "Own") == []


def test_a_base_from_elsewhere_may_bear_the_hooks() -> None:
    assert doubts("from other import Base\n\nclass Own(Base):\n    pass\n", "Own") == []
    base = "class Base(Plugin):\n    def loss(self, learner, step):\n        return None\n"
    assert doubts(f"from clsuite.plugin import Plugin\n\n{base}\nclass Own(Base):\n    pass\n", "Own") == []


def test_one_that_says_how_to_train_is_something() -> None:
    assert doubts(own("traits = Traits(training={'loss': 'local'})"), "Own", brings_training=True) == []


@pytest.mark.parametrize("name", sorted(name for name, info in catalog().items() if info.target.startswith("clsuite")))
def test_our_own_methods_have_no_doubtful_hooks(name: str) -> None:
    info = catalog()[name]
    assert info.source is not None
    assert doubts(info.source.text, info.target.rpartition(":")[2], brings_training=name == "finetune") == []
    assert list(untyped(info.source.text, info.target.rpartition(":")[2])) == []


def test_arguments_without_a_type_are_told() -> None:
    text = own("def __init__(self, a, b: int = 2, *, c=3) -> None:\n    super().__init__()")
    assert [(one.line, one.message.split("'")[1]) for one in untyped(text, "Own")] == [(4, "a"), (4, "c")]


def test_a_benchmark_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(own("def losss(self, learner, step):\n    return None"))
    assert main(["bench", "quickstart", "--methods", "./own.py", "--dry-run", "--seeds", "0,1"]) == 0
    told = capsys.readouterr().err
    assert told == "warning: plugin 'own.py', line 4: `losss` is not a hook; did you mean `loss`?\n"
