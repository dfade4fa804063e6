"""What is read from a plugin's source."""

from __future__ import annotations

import ast
import textwrap
from typing import Any

import pytest

from clsuite.plugin import API_VERSION, Plugin, Traits
from clsuite.plugin.imports import source_hash
from clsuite.plugin.source import MISSING, Parameter, PluginSource, read_source


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

            traits = Traits(stores=("logits",), forbids={"exemplars": "no"}, gradient_free=True, paper="X, 2030")

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
    assert source.traits == Traits(stores=("logits",), forbids={"exemplars": "no"}, gradient_free=True, paper="X, 2030")
    assert source.methods == {"__init__", "predict"}
    assert source.aliases["Kind"] == "Literal['a', 'b']"
    assert source.sha256 == source_hash(ast.parse(textwrap.dedent(text)))


def test_what_a_file_says_is_hashed_and_not_how_it_is_written() -> None:
    assert read("class X: pass").sha256 == read("class X: pass # remark").sha256
    assert read("class X: pass").sha256 != read("class X: x = 1").sha256


def test_nothing_declared() -> None:
    source = read("class X: pass")
    assert source == PluginSource("", (), Traits(), frozenset(), "class X: pass")


@pytest.mark.parametrize("text", ["class X: pass", "class X:\n    api = 1", "class X:\n    api: ClassVar[int] = 1"])
def test_the_version_of_the_api(text: str) -> None:
    assert read(text).api == Plugin.api == API_VERSION == 1


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
            traits = Traits(stores=("logits",))
        """
    )
    assert source.traits == Traits(stores=("logits",))


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
        ("class X:\n    traits = Traits(needs=(VIT,))", r"traits\.needs must be a literal"),
        ("class X:\n    traits = Traits(invented=1)", "traits.invented"),
        (
            "class X:\n    api = 2\n    traits = Traits(new=1)",
            "written for version 2 of the plugin API, .* has version 1",
        ),
        ("class X:\n    api = '1'", "api must be the version of the plugin API, such as 1, not '1'"),
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
