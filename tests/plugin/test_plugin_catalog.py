"""The catalog: ours and third parties' plugins alike; broken ones are shown and harm nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clsuite.errors import UserError
from clsuite.plugin.annotations import read_annotation
from clsuite.plugin.catalog import catalog, find_plugin, load_class
from clsuite.plugin.imported import describe

GOOD = '''
from clsuite.plugin import Plugin, Traits

class Good(Plugin):
    """A good plugin.

    More about it.
    """

    traits = Traits(memory=("exemplars",), paper="Me, 2030")

    def __init__(self, size: int = 3) -> None:
        super().__init__()

    def loss(self, learner, step):
        return None
'''
Offer = Callable[..., None]


def test_a_third_party_plugin_is_found_and_described(offer: Offer) -> None:
    offer({"good": "third_a:Good"}, {"third_a.py": GOOD})
    info, source = find_plugin("good")
    assert (info.name, info.target, info.distribution, info.problem) == ("good", "third_a:Good", "fakes 1.2", "")
    assert source.summary == "A good plugin."
    assert source.traits.memory == ("exemplars",)
    assert source.hooks == {"loss"}


def test_looking_imports_nothing(offer: Offer) -> None:
    offer({"good": "third_b:Good"}, {"third_b.py": GOOD + "\nraise RuntimeError('imported')\n"})
    assert find_plugin("good")[1].summary == "A good plugin."
    assert "third_b" not in sys.modules


def test_a_plugin_that_was_edited_since_the_catalog_was_made_is_read_again(offer: Offer, tmp_path: Path) -> None:
    """A notebook lives on while an author edits an installed method: its run is of what there is then."""
    offer({"good": "third_k:Good"}, {"third_k.py": GOOD})
    first = find_plugin("good")[1]
    (tmp_path / "third_k.py").write_text(GOOD.replace("size: int = 3", "size: int = 30"))
    for name in ("good", "third_k:Good"):
        again = find_plugin(name)[1]
        assert (again.parameters[0].default, again.sha256 != first.sha256) == (30, True)


def test_loading_gives_the_class(offer: Offer) -> None:
    offer({"good": "third_c:Good"}, {"third_c.py": GOOD})
    loaded = load_class(find_plugin("good")[0])
    assert loaded.__name__ == "Good"
    assert loaded(size=5).traits.paper == "Me, 2030"


BROKEN = {
    "syntax": ("broken_syntax:X", {"broken_syntax.py": "class X(:\n"}, r"SyntaxError in line 1: "),
    "import": (
        "broken_import:Good",
        {"broken_import.py": "import os\nimport not_there.deep\n" + GOOD},
        r"line 2: no module named 'not_there'",
    ),
    "from": (
        "broken_from:Good",
        {"broken_from.py": "from not_there.deep import x\n" + GOOD},
        r"line 1: no module named 'not_there'",
    ),
    "class": ("broken_class:Missing", {"broken_class.py": GOOD}, r"there is no class 'Missing' in it"),
    "module": ("no_such_module_here:X", {}, r"no module named 'no_such_module_here'"),
    "submodule": ("no_such_package_here.sub:X", {}, r"no_such_package_here"),
    "traits": (
        "broken_traits:Good",
        {"broken_traits.py": GOOD.replace('("exemplars",)', "make_stores()")},
        r"fails to import: NameError: name 'make_stores' is not defined",
    ),
    "default": (
        "broken_default:Good",
        {"broken_default.py": GOOD.replace("size: int = 3", "size: int = SIZE")},
        r"fails to import: NameError: name 'SIZE' is not defined",
    ),
    "unhashable": (
        "broken_unhashable:Good",
        {"broken_unhashable.py": GOOD.replace("size: int = 3", "size: dict = {[]: 1}")},
        r"TypeError: unhashable type",
    ),
    "trait": (
        "broken_trait:Good",
        {"broken_trait.py": GOOD.replace("memory=", "memroy=")},
        r"unknown entry 'traits\.memroy'\. Did you mean 'memory'",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_plugin_is_shown_as_broken_and_harms_nobody(offer: Offer, kind: str) -> None:
    target, modules, reason = BROKEN[kind]
    offer({"a_broken": target, "good": "third_d:Good"}, {**modules, "third_d.py": GOOD})
    assert set(catalog()) == {"a_broken", "good"}
    broken = catalog()["a_broken"]
    assert broken.problem or (broken.source and broken.source.unclear)
    with pytest.raises(UserError, match=rf"plugin 'a_broken' of fakes 1\.2 is broken: .*{reason}"):
        find_plugin("a_broken")
    assert find_plugin("good")[1].summary == "A good plugin."


def test_a_module_that_is_no_text_is_broken(offer: Offer, tmp_path: Path) -> None:
    offer({"bytes": "broken_bytes:Good"}, {})
    (tmp_path / "broken_bytes.py").write_bytes(b"# \xff\n")
    assert catalog()["bytes"].problem == "it is not UTF-8 (byte 2): save it in UTF-8"


def test_an_unknown_name_gets_a_hint(offer: Offer) -> None:
    offer({"good": "third_e:Good"}, {"third_e.py": GOOD})
    with pytest.raises(UserError, match=r"unknown plugin 'goood'\. Did you mean 'good'\?"):
        find_plugin("goood")
    with pytest.raises(UserError, match=r"unknown plugin 'zzz'\. Known: good\."):
        find_plugin("zzz")


def test_a_taken_name_stays_with_us_and_the_other_is_shown(offer: Offer) -> None:
    offer({"ewc": "third_f:Good"}, {"third_f.py": GOOD}, distribution="aaa")
    offer({"ewc": "clsuite_plugins.ewc:EWC"}, {}, distribution="clsuite")
    assert find_plugin("ewc")[0].target == "clsuite_plugins.ewc:EWC"
    other = catalog()["ewc (aaa 1.2)"]
    assert other.problem == "the name 'ewc' is taken by clsuite 1.2"
    assert other.source is None


def test_the_same_entry_twice_is_one_plugin(offer: Offer) -> None:
    offer({"good": "third_g:Good"}, {"third_g.py": GOOD})
    offer({"good": "third_g:Good"}, {})
    assert set(catalog()) == {"good"}


def test_a_module_that_fails_to_run_is_named(offer: Offer) -> None:
    offer({"good": "third_h:Good"}, {"third_h.py": GOOD + "\nraise RuntimeError('no license')\n"})
    info, _ = find_plugin("good")
    with pytest.raises(UserError, match="plugin 'good' fails to import: RuntimeError: no license"):
        load_class(info)


def test_a_package_that_fails_to_run_is_not_run_to_find_a_plugin_in_it(offer: Offer) -> None:
    modules = {"broken_package/__init__.py": "1 / 0\n", "broken_package/sub.py": GOOD}
    offer({"good": "broken_package.sub:Good"}, modules)
    info, source = find_plugin("good")
    assert source.summary == "A good plugin."
    with pytest.raises(UserError, match="plugin 'good' fails to import: ZeroDivisionError: division by zero"):
        load_class(info)


def test_a_class_that_is_no_plugin_is_named(offer: Offer) -> None:
    offer({"other": "third_i:Other"}, {"third_i.py": "class Other:\n    pass\n"})
    info, _ = find_plugin("other")
    with pytest.raises(UserError, match=r"'other' names third_i:Other, which is not a subclass of clsuite"):
        load_class(info)


OURS = {"ewc", "finetune", "joint", "linear_probe", "lwf", "ncm", "replay"}


@pytest.mark.slow
def test_our_own_are_found_without_torch() -> None:
    script = (
        "import sys; from clsuite.plugin.catalog import catalog; found = catalog();"
        "assert not {'torch', 'lightning', 'avalanche'} & set(sys.modules);"
        "print(*sorted(name for name, info in found.items() if info.source))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) >= OURS


@pytest.mark.parametrize("name", sorted(catalog()))
def test_what_our_sources_say_is_what_the_classes_are(name: str) -> None:
    """Reading a source without importing it must not differ from importing it."""
    info, source = find_plugin(name)
    truth = describe(load_class(info), source.text)
    assert not source.unclear
    assert (source.summary, source.traits, source.hooks) == (truth.summary, truth.traits, truth.hooks)
    assert [(one.name, one.default, one.annotation) for one in source.parameters] == [
        (one.name, one.default, one.annotation) for one in truth.parameters
    ]
    for read, true in zip(source.parameters, truth.parameters, strict=True):
        assert read_annotation(read.annotation, read.aliases) == read_annotation(true.annotation, true.aliases)


def test_every_plugin_that_brings_modules_says_which_kind_or_lets_it_be_chosen() -> None:
    """Modules beside a trained backbone without a kind are another network (FOSTER's)."""
    for name in catalog():
        source = find_plugin(name)[1]
        if "modules" in source.traits.memory and (source.traits.freezes_backbone or source.traits.pet):
            chosen = {"pet", "kind"} & {parameter.name for parameter in source.parameters}
            assert bool(chosen) != bool(source.traits.pet), name


@pytest.mark.parametrize("name", ["os.path:join", "sys:path", "itertools:count", "math:sin"])
def test_a_module_that_is_no_file_of_python_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"plugin '{name}' .* '{name.partition(':')[0]}' has no Python file"):
        find_plugin(name)
