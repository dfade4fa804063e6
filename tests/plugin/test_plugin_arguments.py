"""Arguments are checked strictly against the constructor's annotations."""

from __future__ import annotations

import ast
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.plugin import annotations, arguments
from clsuite.plugin.arguments import resolve_arguments
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.introspection import PluginSource, read_source


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
    with pytest.raises(UserError, match=r"^argument 'a' of plugin 'mine' is '0\.5', but must be a number$"):
        resolve("a: float = 1.0", a="0.5")


def test_the_refusal_spells_out_an_alias() -> None:
    with pytest.raises(UserError, match=r"is 'c', but must be one of a, b$"):
        resolve("a: Kind = 'a'", "Kind = Literal['a', 'b']", a="c")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("int", "a whole number"),
        ("float | None", "a number or null"),
        ("Literal['a', 'b'] | None", "one of a, b or null"),
        ("Literal['a']", "a"),
        ("list[int]", "a list of whole numbers"),
        ("tuple[float, ...]", "a list of numbers"),
        ("list[dict[str, int]]", "a list"),
        ("dict[str, int]", "a mapping"),
        ("bool", "true or false"),
        ("Thing | int", ""),
        ("Thing", ""),
    ],
)
def test_types_in_words(annotation: str, words: str) -> None:
    assert annotations.type_words(annotations.read_annotation(annotation, {})) == words


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
    with pytest.raises(UserError, match=r"must be one of reservoir, class_balanced, herding\. Did you mean 'herding'"):
        resolve_arguments("replay", replay, {"buffer": "herdin"})
    with pytest.raises(UserError, match="Did you mean 'capacity'"):
        resolve_arguments("replay", replay, {"capaciti": 3})


ODD = (
    "9**9**8",
    "9**9**9**9",
    "'x' * 9**9",
    "[c for c in ().__class__.__base__.__subclasses__()][0]",
    "(lambda: open('PWNED', 'w'))()",
    "print('PWNED')",
    "'float | np.ndarray'",
    "'Schedule'",
    "list['Schedule']",
    "Sequence[5]",
    "Optional.nope",
    "Optional",
    "Optional[int, str]",
    "Union",
    "1 / 0",
    "Literal",
    "Literal[()]",
    "Literal[[1]]",
    "Literal[1.5]",
    "Literal['a' * 9**9]",
    "dict[int]",
    "dict[1, 2, 3]",
    "list[int, int]",
    "tuple[()]",
    "int[5]",
    "int | 5",
    "None | None",
    "~int",
    "...",
    "Loop",
    "list[Loop]",
    "list[list[Odd]]",
    "'" + "(" * 300 + "'",
    "list[" * 60 + "int" + "]" * 60,
    "'list[' * 3",
    "f'{1 / 0}'",
    "Mapping[list, int]",
    "Sequence[Sequence]",
    "typing.Optional[Nope]",
)


@pytest.mark.parametrize("annotation", ODD)
def test_odd_annotations_are_neither_run_nor_an_error(
    annotation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    aliases = "Loop = list['Loop'] | None\nOdd = 9**9**8"
    with suppress(UserError):
        resolve(f"a: {annotation} = None", aliases, a=[1])
    assert list(tmp_path.iterdir()) == []


def test_aliases_of_aliases_end() -> None:
    doubling = "\n".join(f"A{level} = tuple[A{level + 1}, A{level + 1}]" for level in range(18))
    with pytest.raises(UserError, match="argument 'a' of plugin 'mine' is 5, but must be"):
        resolve("a: A0", doubling, a=5)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("'float | None'", 0.5, "x"),
        ("typing.Optional[int]", None, "x"),
        ("tuple[int, str]", (1, "a"), (1, 2)),
        ("tuple[int, ...]", (1, 2, 3), (1, "a")),
        ("list['int']", [1], ["a"]),
        ("list[Schedule]", ["anything"], 5),
        ("dict[str, Literal[1, 2]]", {"a": 2}, {"a": 3}),
        ("Mapping[str, list[int]]", {"a": [1]}, {"a": 1}),
        ("Union[int, None, Literal['a']]", "a", "b"),
        ("Alias", [0.5], [["x"]]),
    ],
)
def test_what_is_known_of_an_annotation_is_checked(annotation: str, good: Any, bad: Any) -> None:
    assert resolve(f"a: {annotation}", "Inner = float\nAlias = list[Inner]", a=good)["a"] == good
    with pytest.raises(UserError, match=r"argument 'a' of plugin 'mine' is .* but must be"):
        resolve(f"a: {annotation}", "Inner = float\nAlias = list[Inner]", a=bad)


def test_no_annotation_is_evaluated() -> None:
    for module in (arguments, annotations):
        nodes = ast.walk(ast.parse(Path(module.__file__ or "").read_text()))
        assert not {"eval", "exec"} & {node.id for node in nodes if isinstance(node, ast.Name)}
