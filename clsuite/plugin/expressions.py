"""Evaluates expressions of constants and names for them in a plugin's source, without executing it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clsuite.config.error_text import first_mistake
from clsuite.errors import unknown_word
from clsuite.plugin.former_names import FORMER_TRAITS
from clsuite.plugin.scopes import External, Found, Scope
from clsuite.plugin.traits import Traits

TRAITS = TypeAdapter(Traits)
TRAITS_FIELDS = [one.name for one in fields(Traits)]
MOST = 10_000
"""Maximum number of parts of an expression: nested names of lists could need more than the memory."""
DEEPEST = 50
LARGEST = 10**30
NUMBERS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip


class UnclearError(Exception):
    """Something that the source alone does not determine; the message says what."""


@dataclass
class Expressions:
    """Evaluates expressions of a class.

    Attributes:
        scope: The module of the class.
        inner: Values that the class has assigned, which its expressions may use.
        traits_of: Returns the traits of a class.
    """

    scope: Scope
    inner: Mapping[str, ast.AST]
    traits_of: Callable[[Found], Traits]
    left: int = MOST

    def value(self, node: ast.expr, levels: int = DEEPEST) -> Any:
        """Return the value of an expression.

        Raises:
            UnclearError: If it contains anything else than constants, names for them, and traits.
            ValueError: If it declares unknown traits.
        """
        self.left -= 1
        reader = READERS.get(type(node))
        if reader is None or levels <= 0 or self.left < 0:
            raise UnclearError(f"'{ast.unparse(node)}' is not a constant")
        return reader(self, node, levels - 1)

    def _constant(self, node: ast.Constant, _: int) -> Any:
        return node.value

    def _sequence(self, node: ast.Tuple | ast.List | ast.Set, levels: int) -> Any:
        made: list[Any] = []
        for one in node.elts:
            if isinstance(one, ast.Starred):
                made += self._of_type(one.value, levels, (tuple, list, set))
            else:
                made.append(self.value(one, levels))
        return {ast.Tuple: tuple, ast.List: list, ast.Set: set}[type(node)](made)

    def _dict(self, node: ast.Dict, levels: int) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                made.update(self._of_type(value, levels, (Mapping,)))
            else:
                made[self.value(key, levels)] = self.value(value, levels)
        return made

    def _of_type(self, node: ast.expr, levels: int, kinds: tuple[type, ...]) -> Any:
        value = self.value(node, levels)
        if not isinstance(value, kinds):
            raise UnclearError(f"'{ast.unparse(node)}' is {value!r}")
        return value

    def _unary(self, node: ast.UnaryOp, levels: int) -> Any:
        value = self._of_type(node.operand, levels, (int, float, complex))
        if isinstance(node.op, ast.USub):
            return -value
        if isinstance(node.op, ast.Not):
            return not value
        return +value

    def _binary(self, node: ast.BinOp, levels: int) -> Any:
        left, right = self.value(node.left, levels), self.value(node.right, levels)
        made = NUMBERS.get(type(node.op))
        joined = isinstance(node.op, ast.Add) and type(left) is type(right) and isinstance(left, tuple | list | str)
        if joined:
            return left + right
        if made is None or not all(isinstance(one, int | float) and abs(one) < LARGEST for one in (left, right)):
            raise UnclearError(f"'{ast.unparse(node)}' is not a constant")
        try:
            return made(left, right)
        except ArithmeticError as error:
            raise UnclearError(f"'{ast.unparse(node)}': {error}") from error

    def _name(self, node: ast.Name | ast.Attribute, levels: int) -> Any:
        if isinstance(node, ast.Name) and isinstance(inner := self.inner.get(node.id), ast.expr):
            return self.value(inner, levels)
        meaning = self.scope.look_up_dotted(node, node.lineno)
        if isinstance(meaning, Found) and isinstance(meaning.node, ast.expr):
            other = Expressions(meaning.scope, {}, self.traits_of, self.left)
            try:
                return other.value(meaning.node, levels)
            finally:
                self.left = other.left
        if isinstance(node, ast.Attribute):
            return self._attribute(node, levels)
        raise UnclearError(f"the source does not say what '{node.id}' is")

    def _attribute(self, node: ast.Attribute, levels: int) -> Any:
        """The traits of a class, or one of their fields."""
        owner = self.scope.resolve(node.value, node.lineno)
        if isinstance(owner, Found) and isinstance(owner.node, ast.ClassDef) and node.attr == "traits":
            return self.traits_of(owner)
        whole = self.value(node.value, levels)
        if isinstance(whole, Traits) and node.attr in TRAITS_FIELDS:
            return getattr(whole, node.attr)
        raise UnclearError(f"the source does not say what '{ast.unparse(node)}' is")

    def _call(self, node: ast.Call, levels: int) -> Any:
        called = self._called(node.func)
        if called == "Traits" and not node.args:
            return valid_traits(self._words(node, levels))
        if called == "replace" and len(node.args) == 1:
            before = self._of_type(node.args[0], levels, (Traits,))
            return valid_traits(
                {**{name: getattr(before, name) for name in TRAITS_FIELDS}, **self._words(node, levels)}
            )
        raise UnclearError(f"'{ast.unparse(node)}' is computed")

    def _called(self, node: ast.expr) -> str:
        """``Traits`` or ``replace`` (of `dataclasses`), whatever name they are imported by; else empty."""
        meaning = self.scope.resolve(node, node.lineno)
        if isinstance(meaning, External):
            return {"Traits": "Traits", "replace": "replace", "dataclasses.replace": "replace"}.get(meaning.name, "")
        ours = isinstance(meaning, Found) and meaning.scope.name == Traits.__module__
        return "Traits" if ours else ""

    def _words(self, node: ast.Call, levels: int) -> dict[str, Any]:
        words: dict[str, Any] = {}
        for word in node.keywords:
            if word.arg is None:
                words.update(self._of_type(word.value, levels, (Mapping,)))
            else:
                words[word.arg] = self.value(word.value, levels)
        return words


READERS: dict[type[ast.expr], Callable[[Expressions, Any, int], Any]] = {
    ast.Constant: Expressions._constant, ast.Dict: Expressions._dict,
    ast.Tuple: Expressions._sequence, ast.List: Expressions._sequence, ast.Set: Expressions._sequence,
    ast.UnaryOp: Expressions._unary, ast.BinOp: Expressions._binary,
    ast.Name: Expressions._name, ast.Attribute: Expressions._name, ast.Call: Expressions._call,
}  # fmt: skip
"""The reader of each supported kind of expression."""


def valid_traits(given: Mapping[str, Any]) -> Traits:
    """Create traits from the given fields.

    Raises:
        ValueError: If a field is unknown, or its value is not valid.
    """
    if unknown := [name for name in given if name not in TRAITS_FIELDS]:
        if former := FORMER_TRAITS.get(unknown[0]):
            raise ValueError(f"traits.{unknown[0]} is called traits.{former} since version 2 of the plugin API")
        raise ValueError(unknown_word(f"entry 'traits.{unknown[0]}'", unknown[0], TRAITS_FIELDS))
    try:
        return TRAITS.validate_python(dict(given))
    except ValidationError as error:
        raise ValueError(first_mistake(error, "traits", "traits.")) from error
