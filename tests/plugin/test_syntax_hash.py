"""The hash of a syntax tree: what is said counts, and not how it is written down."""

from __future__ import annotations

import ast
import hashlib

import pytest

from clsuite.plugin.syntax_hash import tree_hash


def hashed(text: str) -> str:
    return tree_hash(ast.parse(text))


BASE = '''"""Module."""
SIZE = 3


class X:
    """Class."""

    alpha: float = 0.5

    def f(self, a, *, b=None):
        """Function."""
        return [a + SIZE, {"k": b"v", **b}, f"{a:>{b}} and {b!r}", -1.5e-3, ..., True, 2j]
'''


@pytest.mark.parametrize(
    "changed",
    [
        BASE.replace("Function.", "What it does."),
        BASE.replace('"""Module."""', '"""Another text."""'),
        BASE.replace('    """Class."""\n\n', ""),
        BASE.replace("alpha: float = 0.5", 'alpha: float = 0.5\n    """What alpha is."""'),
        BASE.replace("SIZE = 3\n", "SIZE = (  # of what\n    0x3\n)\n"),
        BASE.replace('"k"', "'k'").replace("a + SIZE", "(a)+SIZE"),
        BASE.replace('"k"', 'u"k"').replace('f"{a:>{b}} and {b!r}"', 'f"{a:>{b}} " "and " f"{b!r}"'),
        "# coding: utf-8\n\n\n" + BASE.replace("-1.5e-3", "-0.0015"),
    ],
)
def test_what_changes_no_result_changes_no_hash(changed: str) -> None:
    assert changed != BASE
    assert hashed(changed) == hashed(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SIZE = 3", "SIZE = 4"),
        ("SIZE = 3", "SIZE = 3.0"),
        ("SIZE = 3", "SIZE = '3'"),
        ("True", "1"),
        ("True", "None"),
        ("b=None", "b"),
        ("b=None", "b=0"),
        ("a + SIZE", "a - SIZE"),
        ("*, b", "b"),
        ("**b", "'x': b"),
        ('b"v"', '"v"'),
        ("!r", ""),
        (">{b}", "{b}"),
        ("alpha", "beta"),
        ("class X", "class X(Y)"),
        ("def f", "async def f"),
    ],
)
def test_every_other_change_does(old: str, new: str) -> None:
    assert hashed(BASE.replace(old, new, 1)) != hashed(BASE)


def test_a_string_that_is_used_counts() -> None:
    assert hashed("def f(): return 'a'") != hashed("def f(): return 'b'")
    assert hashed("x = 'a'") != hashed("x = 'b'")


def test_no_two_trees_share_their_words() -> None:
    texts = [
        "f(a, b)",
        "f(a)(b)",
        "f((a, b))",
        "f([a, b])",
        "f(ab)",
        "f('a', b)",
        "a.b",
        "a[b]",
        "a\nb",
        "ab",
        "{a: b}",
    ]
    assert len({hashed(text) for text in texts}) == len(texts)


def test_the_fields_that_only_some_versions_of_python_have_say_nothing_where_they_are_empty() -> None:
    """3.12 gives functions and classes ``type_params``, 3.13 leaves empty lists to be made up: one hash for all."""
    arguments = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    bare = ast.FunctionDef(name="f", args=arguments, body=[ast.Pass()], decorator_list=[])
    full = ast.FunctionDef(name="f", args=arguments, body=[ast.Pass()], decorator_list=[], returns=None)
    full._fields = (*ast.FunctionDef._fields, "type_params")  # type: ignore[misc]
    full.type_params = []  # type: ignore[attr-defined]
    trees = [ast.Module(body=[one], type_ignores=[]) for one in (bare, full)]
    assert {tree_hash(tree) for tree in trees} == {hashed("def f(): pass")}
    full.type_params = [ast.Name("T")]  # type: ignore[attr-defined]
    assert tree_hash(trees[1]) != tree_hash(trees[0])


def test_the_format_of_nothing_may_be_there_or_not() -> None:
    absent = ast.FormattedValue(value=ast.Name("x"), conversion=-1, format_spec=None)
    empty = ast.FormattedValue(value=ast.Name("x"), conversion=-1, format_spec=ast.JoinedStr(values=[]))
    assert tree_hash(absent) == tree_hash(empty)


def test_by_hand() -> None:
    """The serialization itself, so that no version of Python or clsuite changes it in silence."""
    written = b"6:Module(body=[6:Assign(targets=[4:Name(id=1:x)]value=8:Constant(int 3:0x1))])"
    assert hashed("'''Doc.'''\nx = 1  # one") == hashlib.sha256(written).hexdigest()


def test_trees_of_any_depth_and_size() -> None:
    deep = "x = " + " + ".join(["1"] * 900)
    assert hashed(deep) != hashed(f"{deep} + 2")
    assert hashed(f"x = {'9' * 4000}") != hashed(f"x = {'9' * 4001}")
    assert hashed("x = '\\ud800'") != hashed("x = '\\ud801'")
