"""What is read from a plugin's source."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

import pytest

from clsuite.plugin import API_VERSION, Plugin, Traits
from clsuite.plugin.former_names import FORMER_HOOKS, FORMER_TRAITS
from clsuite.plugin.introspection import MISSING, Parameter, PluginSource, read_source
from clsuite.plugin.source_hash import source_hash


def read(text: str, name: str = "X") -> PluginSource:
    return read_source(textwrap.dedent(text), name)


def test_everything_at_once() -> None:
    text = '''
        """A module."""
        from clsuite.plugin import Plugin, Traits

        Kind = Literal["a", "b"]

        class X(Plugin):
            """Does things.

            At length.
            """

            traits = Traits(memory=("logits",), incompatible_with={"exemplars": "no"}, gradient_free=True, paper="2030")

            def __init__(self, alpha: float, kind: Kind = "a", *, sizes: tuple[int, ...] | None = (1, 2)) -> None:
                pass

            def predict(self, learner, batch):
                pass
    '''
    source = read(text)
    assert source.summary == "Does things."
    assert source.parameters == (
        Parameter("alpha", "float", MISSING),
        Parameter("kind", "Kind", "a"),
        Parameter("sizes", "tuple[int, ...] | None", (1, 2)),
    )
    assert source.traits == Traits(
        memory=("logits",), incompatible_with={"exemplars": "no"}, gradient_free=True, paper="2030"
    )
    assert source.methods == {"__init__", "predict"}
    assert source.aliases["Kind"] == "Literal['a', 'b']"
    assert source.sha256 == source_hash(ast.parse(textwrap.dedent(text)))


def test_what_a_file_says_is_hashed_and_not_how_it_is_written() -> None:
    assert read("class X: pass").sha256 == read("class X: pass # remark").sha256
    assert read("class X: pass").sha256 != read("class X: x = 1").sha256


def test_nothing_declared() -> None:
    source = read("class X: pass")
    assert source == PluginSource("", (), Traits(), frozenset(), "class X: pass")


@pytest.mark.parametrize("text", ["class X: pass", "class X:\n    api = 2", "class X:\n    api: ClassVar[int] = 2"])
def test_the_version_of_the_api(text: str) -> None:
    assert read(text).api == Plugin.api == API_VERSION == 2


def test_annotated_traits_count() -> None:
    assert read('class X:\n    traits: ClassVar[Traits] = Traits(paper="P")').traits.paper == "P"


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("self, a=1", [("a", "Any", 1)]),
        ("self, a, b=-2.5", [("a", "Any", MISSING), ("b", "Any", -2.5)]),
        ("self, a: int, /, b: 'int' = 3, *, c: bool, d: str = 's'", None),
        ("self, *args, **kwargs", []),
        ("self, a: list[int] = [1], b: dict = {'k': None}", [("a", "list[int]", [1]), ("b", "dict", {"k": None})]),
    ],
)
def test_signatures(signature: str, expected: list[tuple[str, str, Any]] | None) -> None:
    found = [
        (p.name, p.annotation, p.default) for p in read(f"class X:\n    def __init__({signature}): ...").parameters
    ]
    if expected is None:
        expected = [("a", "int", MISSING), ("b", "'int'", 3), ("c", "bool", MISSING), ("d", "str", "s")]
    assert found == expected


def test_bases_in_the_same_module_are_followed() -> None:
    source = read(
        """
        class Base(Plugin):
            traits = Traits(paper="base")
            def __init__(self, a: int = 1): ...
            def loss(self, learner, step): ...

        class Middle(Base):
            def predict(self, learner, batch): ...

        class X(Middle):
            def __init__(self, b: int = 2): ...
        """
    )
    assert source.methods == {"__init__", "loss", "predict"}
    assert [parameter.name for parameter in source.parameters] == ["b"]
    assert source.traits.paper == "base"


def test_the_nearest_class_wins() -> None:
    source = read(
        """
        class Base:
            traits = Traits(paper="base")

        class X(Base):
            traits = Traits(memory=("logits",))
        """
    )
    assert source.traits == Traits(memory=("logits",))


def test_other_classes_of_the_module_have_no_part_in_it() -> None:
    source = read("class X: pass\nclass Y:\n    def loss(self): ...\n")
    assert source.methods == frozenset()


def test_a_class_that_names_itself_as_base_ends() -> None:
    assert read("class X(X):\n    def loss(self): ...").methods == {"loss"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class Y: pass", "there is no class 'X'"),
        ("def X(): pass", "there is no class 'X'"),
        ("class X:\n    traits = Traits('vit')", "traits must be written as Traits"),
        ("class X:\n    traits = TRAITS", "traits must be written as Traits"),
        ("class X:\n    traits = Traits(**more)", "must be a literal"),
        ("class X:\n    traits = Traits(requires=(VIT,))", r"traits\.requires must be a literal"),
        ("class X:\n    traits = Traits(invented=1)", "traits.invented"),
        (
            "class X:\n    api = 3\n    traits = Traits(new=1)",
            "written for version 3 of the plugin API, .* has version 2",
        ),
        ("class X:\n    api = '1'", "api must be the version of the plugin API, such as 2, not '1'"),
        ("class X:\n    api = 0", "api must be the version"),
        ("class X:\n    def __init__(self, a=os.sep): ...", r"default of 'a' must be a literal, not 'os\.sep'"),
    ],
)
def test_sources_that_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read(text)


def test_text_that_is_no_python() -> None:
    with pytest.raises(SyntaxError):
        read("class X(")


@pytest.mark.parametrize(("former", "now"), FORMER_HOOKS.items())
def test_a_hook_by_a_former_name_is_refused_with_the_name_of_now(former: str, now: str) -> None:
    with pytest.raises(ValueError, match=rf"line 2: the hook {former} is called {now} since version 2"):
        read(f"class X:\n    def {former}(self, learner, given): return given\n")
    assert read(f"class X:\n    def {former}(self, own): return own\n").methods == {former}


@pytest.mark.parametrize(("former", "now"), FORMER_TRAITS.items())
def test_a_trait_by_a_former_name_is_refused_with_the_name_of_now(former: str, now: str) -> None:
    with pytest.raises(ValueError, match=rf"traits\.{former} is called traits\.{now} since version 2"):
        read(f"class X:\n    traits = Traits({former}=())\n")
