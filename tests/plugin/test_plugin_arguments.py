"""Arguments are checked strictly against the constructor's annotations."""

from __future__ import annotations

from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.source import PluginSource, read_source


def source(signature: str, before: str = "") -> PluginSource:
    return read_source(f"{before}\nclass X:\n    def __init__(self, {signature}): ...\n", "X")


def resolve(signature: str, before: str = "", **given: Any) -> dict[str, Any]:
    return resolve_arguments("mine", source(signature, before), given)


def test_defaults_are_filled_in() -> None:
    assert resolve("a: int = 1, b: str = 'x'", b="y") == {"a": 1, "b": "y"}
    assert resolve("a: int = 1, b: str = 'x'") == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        ("int", 3, 3),
        ("float", 0.5, 0.5),
        ("float", 1, 1.0),
        ("int | None", None, None),
        ("int | None", 3, 3),
        ("Optional[int]", None, None),
        ("Union[int, str]", "x", "x"),
        ("bool", True, True),
        ("str", "x", "x"),
        ("list[int]", [1, 2], [1, 2]),
        ("dict[str, float]", {"a": 1.5}, {"a": 1.5}),
        ("Sequence[float]", [0.1, 0.2], [0.1, 0.2]),
        ("Literal['a', 'b']", "b", "b"),
        ("Kind", "a", "a"),
        ("Kind | None", None, None),
        ("'int'", 3, 3),
        ("Any", object, object),
        ("torch.device", "anything", "anything"),
        ("TheirOwn", {"x": 1}, {"x": 1}),
    ],
)
def test_values_that_fit(annotation: str, value: Any, expected: Any) -> None:
    found = resolve(f"a: {annotation}", "Kind = Literal['a', 'b']", a=value)["a"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("int", "3"),
        ("int", 3.0),
        ("int", 3.5),
        ("int", True),
        ("int", None),
        ("float", "0.5"),
        ("float", None),
        ("float", True),
        ("bool", 1),
        ("bool", "yes"),
        ("str", 3),
        ("list[int]", ["1"]),
        ("int | None", "null"),
        ("Literal['a', 'b']", "c"),
        ("Kind", "c"),
        ("Kind | None", 3),
    ],
)
def test_values_that_do_not_fit_are_refused(annotation: str, value: Any) -> None:
    with pytest.raises(UserError, match=r"argument 'a' of plugin 'mine' is .*, but must be"):
        resolve(f"a: {annotation}", "Kind = Literal['a', 'b']", a=value)


def test_the_refusal_says_what_was_given_and_what_is_wanted() -> None:
    with pytest.raises(UserError, match=r"^argument 'a' of plugin 'mine' is '0\.5', but must be float$"):
        resolve("a: float = 1.0", a="0.5")


def test_the_refusal_spells_out_an_alias() -> None:
    with pytest.raises(UserError, match=r"is 'c', but must be Literal\['a', 'b'\]$"):
        resolve("a: Kind = 'a'", "Kind = Literal['a', 'b']", a="c")


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(UserError, match=r"plugin 'mine' needs the argument 'a' \(int\)"):
        resolve("a: int, b: int = 1")


def test_a_typo_gets_a_hint() -> None:
    with pytest.raises(UserError, match=r"unknown argument of plugin 'mine': 'capcity'\. Did you mean 'capacity'\?"):
        resolve("capacity: int = 1, alpha: float = 2.0", capcity=3)


def test_an_argument_far_from_all_others_lists_them() -> None:
    with pytest.raises(UserError, match=r"'zzz'\. Known: alpha, capacity\."):
        resolve("capacity: int = 1, alpha: float = 2.0", zzz=3)


def test_a_plugin_without_arguments_takes_none() -> None:
    with pytest.raises(UserError, match=r"'lr'\. Known: none\."):
        resolve_arguments("mine", read_source("class X: pass", "X"), {"lr": 1})


def test_annotations_are_not_code_to_run() -> None:
    assert resolve("a: __import__('os').system('false')", a=1) == {"a": 1}


def test_replay_as_it_is() -> None:
    _, replay = find_plugin("replay")
    resolved = resolve_arguments("replay", replay, {"buffer": "herding", "capacity": None, "capacity_bytes": 5000})
    assert resolved == {"capacity": None, "capacity_bytes": 5000, "buffer": "herding", "batch_size": None}
    with pytest.raises(UserError, match=r"Literal\['reservoir', 'class_balanced', 'herding'\]"):
        resolve_arguments("replay", replay, {"buffer": "herdin"})
    with pytest.raises(UserError, match="Did you mean 'capacity'"):
        resolve_arguments("replay", replay, {"capaciti": 3})
