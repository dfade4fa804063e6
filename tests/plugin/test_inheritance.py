"""Plugins are ordinary classes: one that derives from another, in a file of its own, is what Python makes of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from clsuite.errors import UserError
from clsuite.plugin import source_hash
from clsuite.plugin.annotations import read_annotation
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import find_plugin, load_class, read_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.import_check import as_imported
from clsuite.plugin.imported import describe, from_text, to_text
from clsuite.plugin.introspection import PluginSource
from clsuite.plugin.misspelled_hooks import doubts, untyped

MINE = '''
from clsuite_plugins.replay import Replay

class MyReplay(Replay):
    """Mine."""

    def loss(self, learner, step):
        return None
'''
PASSING = MINE.replace(
    "    def loss",
    "    def __init__(self, temperature: float = 2.0, *args, **kwargs):\n"
    "        super().__init__(*args, **kwargs)\n\n    def loss",
)
LOCAL = """
from typing import Literal

from clsuite.plugin import Plugin, Traits
from constants import SIZE

Kind = Literal["a", "b"]

class Base(Plugin):
    traits = Traits(memory=("logits",))

    def __init__(self, size: int = SIZE, kind: Kind = "a"):
        super().__init__()
        self.size = size

    def predict(self, learner, batch):
        return None
"""
OWN = '''
import dataclasses

from base import Base
import constants

class Own(Base):
    """Own."""

    traits = dataclasses.replace(Base.traits, effects=(constants.EFFECT,))

    def __init__(self, *args, rate: float = constants.RATE, **kwargs):
        super().__init__(*args, **kwargs)
'''
CONSTANTS = "SIZE = 3\nRATE = SIZE / 2\nEFFECT = 'scores weights'\n"
Offer = Callable[..., None]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def names(source: PluginSource) -> list[str]:
    return [one.name for one in source.parameters]


def assert_agreement(name: str) -> PluginSource:
    """What is read of a plugin is what its imported class is."""
    info, source = find_plugin(name)
    truth = describe(load_class(info), source.text, source.home)
    assert not source.unclear
    assert source == dataclasses.replace(truth, parameters=source.parameters)
    assert [(one.name, one.default) for one in source.parameters] == [
        (one.name, one.default) for one in truth.parameters
    ]
    for read, true in zip(source.parameters, truth.parameters, strict=True):
        assert read_annotation(read.annotation, read.aliases) == read_annotation(true.annotation, true.aliases)
    return source


def test_a_subclass_of_replay_keeps_arguments_traits_and_hooks() -> None:
    write({"myreplay.py": MINE})
    source, replay = assert_agreement("./myreplay.py"), find_plugin("replay")[1]
    assert source.parameters == replay.parameters
    assert source.traits == replay.traits
    assert source.hooks == {*replay.hooks, "loss"}
    assert source.summary == "Mine."


def test_a_subclass_that_passes_its_arguments_on_has_those_of_its_base_too() -> None:
    write({"myreplay.py": PASSING})
    source, replay = assert_agreement("./myreplay.py"), find_plugin("replay")[1]
    assert names(source) == ["temperature", *names(replay)]
    given = resolve_arguments("myreplay.py", source, {"capacity": 20, "buffer": "herding"})
    assert given == {
        "temperature": 2.0,
        "capacity": 20,
        "capacity_bytes": None,
        "buffer": "herding",
        "batch_size": None,
    }
    for argument, value, reason in [
        ("batch_size", 0, "batch_size is 0, but must be at least 1"),
        ("buffer", "herdin", "must be one of"),
        ("capacity", "many", "must be a whole number or null"),
        ("capacty", 3, "Did you mean 'capacity'"),
    ]:
        with pytest.raises(UserError, match=reason):
            resolve_arguments("myreplay.py", source, {argument: value})


@pytest.mark.parametrize("other", ["ncm", "gdumb", "joint", "icarl", "replay", "der"])
def test_a_subclass_is_refused_where_replay_would_be(other: str) -> None:
    write({"myreplay.py": MINE[: MINE.index("    def")]})
    beside = (other, find_plugin(other)[1])
    for order in (1, -1):
        told = []
        for name in ("./myreplay.py", "replay"):
            pair = [beside, ("it", find_plugin(name)[1])][::order]
            try:
                check_method(pair, "class_incremental")
                told.append("")
            except UserError as error:
                told.append(str(error))
        assert told[0] == told[1], order
        assert told[0] or other in ("der", "replay")


def test_a_file_with_imported_classes_stands_for_the_one_that_derives_from_them() -> None:
    net = "\nfrom torch import nn\n\nclass Net(nn.Module):\n    pass\n"
    write({"myreplay.py": MINE + net, "two.py": MINE + MINE.replace("class My", "class Other")})
    assert find_plugin("./myreplay.py")[0].target.endswith(":MyReplay")
    with pytest.raises(UserError, match=r"several classes \(MyReplay, OtherReplay\): write '\./two\.py:MyReplay'"):
        find_plugin("./two.py")


def test_a_base_in_another_local_file() -> None:
    write({"own.py": OWN, "base.py": LOCAL, "constants.py": CONSTANTS})
    source = assert_agreement("./own.py")
    assert [(one.name, one.default) for one in source.parameters] == [("rate", 1.5), ("size", 3), ("kind", "a")]
    assert (source.traits.memory, source.traits.effects, source.hooks) == (
        ("logits",),
        ("scores weights",),
        {"predict"},
    )
    with pytest.raises(UserError, match=r"argument 'kind' of plugin 'own' is 'c', but must be one of a, b"):
        resolve_arguments("own", source, {"kind": "c"})


WAYS = {
    "as": "from clsuite_plugins.replay import Replay as Base",
    "module": "import clsuite_plugins.replay\nBase = clsuite_plugins.replay.Replay",
    "module as": "import clsuite_plugins.replay as module\nBase = module.Replay",
    "from the package": "from clsuite_plugins import replay\nBase = replay.Replay",
    "through another file": "from between import Base",
    "star": "from starred import *",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_base_is_found_however_it_is_imported(way: str) -> None:
    write({
        "mine.py": f"{WAYS[way]}\n\nclass Mine(Base):\n    pass\n",
        "between.py": "from starred import Base",
        "starred.py": "from clsuite_plugins.replay import Replay as Base",
    })  # fmt: skip
    source = find_plugin("./mine.py")[1]
    assert names(source) == names(find_plugin("replay")[1])
    assert describe(load_class(find_plugin("./mine.py")[0])).traits == source.traits


@pytest.mark.slow
def test_a_base_in_an_installed_package(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    package = {"site-packages/pack/__init__.py": "from .methods import Base\nfrom . import constants\n",
               "site-packages/pack/methods.py": LOCAL.replace("from constants", "from pack.constants"),
               "site-packages/pack/constants.py": CONSTANTS}  # fmt: skip
    monkeypatch.syspath_prepend(str(Path("site-packages").absolute()))
    own = OWN.replace("from base", "from pack").replace("import constants", "from pack import constants")
    offer({"packed": "third_own:Own"}, {**package, "third_own.py": own})
    write({"own.py": own})
    for name in ("packed", "./own.py"):
        assert names(assert_agreement(name)) == ["rate", "size", "kind"]


def test_several_bases_in_the_order_of_python() -> None:
    mixin = "class Mixin:\n    def __init__(self, extra: int = 1, **more):\n        super().__init__(**more)\n"
    write({"mine.py": f"from clsuite_plugins.replay import Replay\n\n{mixin}\nclass Mine(Mixin, Replay):\n    pass\n"})
    assert names(assert_agreement("./mine.py")) == ["extra", *names(find_plugin("replay")[1])]


COMPUTED = {
    "dataclass": (
        "from dataclasses import dataclass\nfrom clsuite.plugin import Plugin, Traits\n\n@dataclass(eq=False)\n"
        "class Mine(Plugin):\n    rate: float = 0.5\n    def loss(self, learner, step): return None\n",
        [("rate", 0.5)], {"loss"}, (),
    ),
    "base": (
        "from clsuite_plugins.replay import Replay\ndef base(): return Replay\n\nclass Mine(base()):\n    pass\n",
        None, None, ("exemplars",),
    ),
    "traits": (
        "from clsuite.plugin import Plugin, Traits\n\nclass Mine(Plugin):\n"
        "    traits = Traits(memory=tuple(sorted({'logits', 'exemplars'})))\n"
        "    def __init__(self, a: int = len('abc')): super().__init__()\n",
        [("a", 3)], set(), ("exemplars", "logits"),
    ),
    "changed": (
        "from clsuite.plugin import Plugin\n\nclass Mine(Plugin):\n    pass\n\n"
        "Mine.predict = lambda self, learner, batch: None\n",
        [], {"predict"}, (),
    ),
}  # fmt: skip


@pytest.mark.slow
def test_what_the_source_does_not_tell_the_imported_class_does_and_it_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "from clsuite.plugin import Plugin\n\nclass Mine(Plugin):\n    def __init__(self, a=object()): ...\n"
    write({**{f"{kind}.py": text for kind, (text, *_) in COMPUTED.items()}, "bad.py": bad})
    read = [read_plugin(f"./{kind}.py")[0] for kind in (*COMPUTED, "bad")]
    assert all(info.source and info.source.unclear for info in read)
    *found, broken = as_imported(read, tmp_path)
    assert re.match(r"the default of 'a' is <object .*, which records cannot store: use", broken.problem)
    replay = find_plugin("replay")[1]
    for info, (_, arguments, hooks, memory) in zip(found, COMPUTED.values(), strict=True):
        assert info.source is not None
        assert [(one.name, one.default) for one in info.source.parameters] == (
            [(one.name, one.default) for one in replay.parameters] if arguments is None else arguments
        )
        assert (info.source.hooks, info.source.traits.memory) == (replay.hooks if hooks is None else hooks, memory)
    monkeypatch.setattr("clsuite.plugin.import_check.PYTHON", ("no-such-python",))  # it is not asked again
    assert as_imported(read[:-1], tmp_path) == found


def test_a_class_that_is_another_than_its_source_says_is_refused_when_it_is_imported() -> None:
    hidden = "\nimport sys\nsys.modules[__name__].__dict__['Mi' + 'ne'].predict = print\n"
    write({"mine.py": MINE.replace("MyReplay", "Mine") + hidden})
    info, source = find_plugin("./mine.py")
    assert "predict" not in source.hooks
    with pytest.raises(UserError, match=r"the hooks of plugin 'mine\.py' differ between its source and the"):
        load_class(info)


def test_a_description_survives_as_text() -> None:
    source = find_plugin("icarl")[1]
    assert from_text(to_text(source), source.text, source.home) == source
    for bad in ("imports", "{}", "[", "__import__('os')"):
        with pytest.raises(ValueError):
            from_text(bad, "", None)


def test_doubts_see_what_is_inherited() -> None:
    write({"myreplay.py": MINE.replace("    def loss(self, learner, step):\n        return None\n", "    x = 1\n")})
    source = find_plugin("./myreplay.py")[1]
    assert doubts(source.text, "MyReplay", home=source.home) == []
    assert list(untyped(source.text, "MyReplay", source.home)) == []


def test_a_doubt_in_a_local_base_names_its_file() -> None:
    base = LOCAL.replace("def predict", "def predit").replace("size: int", "size")
    write({"own.py": OWN, "base.py": base, "constants.py": CONSTANTS})
    source = find_plugin("./own.py")[1]
    (doubt,) = doubts(source.text, "Own", home=source.home)
    assert (doubt.file, doubt.place) == ("base.py", f"line {doubt.line} of base.py")
    assert "did you mean `predict`" in doubt.message
    assert [one.file for one in untyped(source.text, "Own", source.home)] == ["base.py"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("@property\n    def stored_bytes(self): return {}", "`stored_bytes` is a property, but a hook is called"),
        ("class loss: pass", "`loss` is a class, but a hook is called"),
        ("loss = lambda self, step: None", "`loss` takes (self, step), but is called with (self, learner, step)"),
        ("loss = other", "`loss` takes (a), but is called with (self, learner, step)"),
    ],
)
def test_a_hook_that_is_no_plain_method_is_looked_at_too(body: str, message: str) -> None:
    text = f"from clsuite.plugin import Plugin\ndef other(a): ...\nclass Own(Plugin):\n    {body}\n"
    assert [one.message for one in doubts(text, "Own")] == [message]


@pytest.mark.parametrize(
    "body",
    ["@torch.no_grad()\n    def loss(self, learner, step): ...", "@wrapped\n    def loss(self, *whatever, x): ...",
     "loss = staticmethod(f)", "loss = make(3)", "loss = good"],
)  # fmt: skip
def test_a_hook_that_may_be_right_is_left_alone(body: str) -> None:
    text = f"from clsuite.plugin import Plugin\ndef good(self, learner, step): ...\nclass Own(Plugin):\n    {body}\n"
    assert doubts(text, "Own") == []


SUBCLASS = {"own.py": OWN, "base.py": LOCAL, "constants.py": CONSTANTS}


@pytest.mark.parametrize("file", SUBCLASS)
def test_the_source_of_a_subclass_holds_its_bases_and_what_they_import(file: str) -> None:
    write(SUBCLASS)
    first = find_plugin("./own.py")[1].sha256
    write({file: SUBCLASS[file] + "\n# a remark\n"})
    assert find_plugin("./own.py")[1].sha256 == first
    write({file: SUBCLASS[file] + "\nMORE = 1\n"})
    assert find_plugin("./own.py")[1].sha256 != first


def test_the_source_of_a_subclass_holds_the_reference_method_that_it_derives_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import clsuite_plugins.replay as module

    write({"myreplay.py": MINE})
    first = find_plugin("./myreplay.py")[1].sha256
    changed = Path(module.__file__ or "").read_text() + "\nMORE = 1\n"
    usual = source_hash.read_bytes
    monkeypatch.setattr(
        source_hash, "read_bytes", lambda path: changed.encode() if str(path) == module.__file__ else usual(path)
    )
    assert find_plugin("./myreplay.py")[1].sha256 != first


def test_files_in_two_folders_with_helpers_of_one_name_do_not_mix() -> None:
    plugin = "from clsuite.plugin import Plugin\nfrom helper import W\n\nclass P(Plugin):\n    w = W\n"
    write({"a/p.py": plugin, "a/helper.py": "W = 1", "b/q.py": plugin, "b/helper.py": "W = 2"})
    first, second = find_plugin("a/p.py")[0], find_plugin("b/q.py")[0]
    assert load_class(first).w == 1  # type: ignore[attr-defined]
    assert load_class(second).w == 2  # type: ignore[attr-defined]


def test_reading_a_subclass_imports_nothing() -> None:
    write({"own.py": OWN, "base.py": f"{LOCAL}\nraise RuntimeError('imported')\n", "constants.py": CONSTANTS})
    assert names(find_plugin("./own.py")[1]) == ["rate", "size", "kind"]
