"""Checks arguments as a plugin's constructor does, from its text, before anything is imported or executed.

Statements of the constructor that depend only on its arguments are evaluated: checks with `check_range` and other
functions of clsuite that need no torch, and ``if ...: raise UserError(...)``. Other statements are skipped; they are
executed when the plugin is created.
"""

from __future__ import annotations

import ast
import importlib
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clsuite.data.buffer_policy import check_capacity
from clsuite.errors import UserError
from clsuite.plugin.defaults import fill_defaults
from clsuite.plugin.traits import Traits

CHECKS = {
    "check_range": "clsuite.plugin.ranges",
    "exemplar_capacity": "clsuite.data.buffer_policy",
    "check_one_of_each": "clsuite.data.buffer_policy",
}
"""Functions that check arguments, and their modules, which need no torch."""
BASES = {"RehearsalPlugin": check_capacity, "DistillingRehearsal": check_capacity}
"""Classes of clsuite whose constructors check arguments, with the function for this."""
MOST_STEPS = 2000
"""Maximum number of statements and parts of expressions that are evaluated."""
LARGEST = 2**64
FORMAT = re.compile(r"[,.]?\d{0,2}[defg%]?")
"""Supported number formats in messages."""
ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.Is: operator.is_, ast.IsNot: operator.is_not, ast.In: lambda one, all: one in all,
    ast.NotIn: lambda one, all: one not in all,
}  # fmt: skip
SIGNS: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": min, "max": max, "len": len, "abs": abs, "int": int, "float": float, "any": any, "all": all,
}  # fmt: skip


class _UnknownError(Exception):
    """An expression that does not depend only on the arguments."""


class _EndError(Exception):
    """The constructor may end here, or its continuation is unknown."""


def refuse_arguments(text: str, line: int, traits: Traits, values: Mapping[str, Any]) -> None:
    """Refuse arguments as the constructor would.

    Args:
        text: The text of the plugin's module.
        line: The line of its constructor; 0 if it has none.
        traits: The traits of the plugin.
        values: All arguments of the constructor.

    Raises:
        UserError: If the constructor refuses them.
    """
    if not line:
        return
    module = ast.parse(text)
    found = (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef) and node.lineno == line)
    constructor = next(found, None)
    if constructor is None:
        return
    own = {node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bases = [node.bases for node in ast.walk(module) if isinstance(node, ast.ClassDef) and constructor in node.body]
    base = next((part.id for part in (bases or [[]])[0] if isinstance(part, ast.Name)), "")
    run = _Run(dict(values), dict(_imported(module)), own, traits, base)
    try:
        run.follow(constructor.body)
    except _EndError:
        return


def _imported(module: ast.Module) -> Iterator[tuple[str, str]]:
    """The names that a module imports from clsuite, with their names in clsuite."""
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "clsuite":
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)


@dataclass
class _Run:
    """Evaluates a constructor.

    Attributes:
        known: Known values by name; attributes of the plugin as ``self.NAME``.
        imported: Names that are imported from clsuite, with their names in clsuite.
        own: Names that the module defines itself.
        traits: The traits of the plugin.
        base: The name of the base class in the module.
        left: Number of steps that may still be taken.
    """

    known: dict[str, Any]
    imported: Mapping[str, str]
    own: set[str]
    traits: Traits
    base: str = ""
    left: int = field(default=MOST_STEPS)

    def follow(self, body: list[ast.stmt]) -> None:
        for statement in body:
            try:
                self.statement(statement)
            except (_UnknownError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError):
                self.skip(statement)

    def statement(self, node: ast.stmt) -> None:
        self.step()
        if isinstance(node, ast.Expr):
            self.check(node.value)
        elif isinstance(node, ast.If):
            self.follow(node.body if self.value(node.test) else node.orelse)
        elif isinstance(node, ast.For) and not node.orelse:
            self.loop(node)
        elif isinstance(node, ast.Assign):
            value = self.value(node.value)
            for target in node.targets:
                self.assign(target, value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.assign(node.target, self.value(node.value))
        elif isinstance(node, ast.Raise):
            self.refuse(node)
        elif not isinstance(node, ast.Pass):
            raise _UnknownError

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _EndError

    def skip(self, node: ast.stmt) -> None:
        """Skip a statement that cannot be evaluated: the values that it may set become unknown, and it may be the end.

        If it raises an error, the constructor refuses the arguments anyway, so later checks are still valid.
        """
        for part in ast.walk(node):
            if isinstance(part, ast.Return | ast.Break | ast.Continue):
                raise _EndError
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store | ast.Del):
                self.known.pop(part.id, None)
            if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store | ast.Del):
                self.known.pop(ast.unparse(part), None)

    def loop(self, node: ast.For) -> None:
        for item in list(self.value(node.iter)):
            self.assign(node.target, item)
            self.follow(node.body)

    def assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for part, one in zip(target.elts, value, strict=True):
                self.assign(part, one)
        elif isinstance(target, ast.Name | ast.Attribute):
            self.known[ast.unparse(target)] = value
        else:
            raise _UnknownError

    def check(self, node: ast.expr) -> None:
        """Run a check of clsuite; other calls are skipped, and may change lists and dictionaries."""
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        name = self.imported.get(called, "")
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
            if self.imported.get(self.base) in BASES and self.base not in self.own:
                BASES[self.imported[self.base]](*map(self.value, node.args), **self.words(node))
            return
        if not isinstance(node, ast.Call) or name not in CHECKS or called in self.own:
            named = {ast.unparse(part) for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)}
            for one in named:
                if isinstance(self.known.get(one), list | dict):
                    del self.known[one]
            return
        words = self.words(node)
        getattr(importlib.import_module(CHECKS[name]), name)(*map(self.value, node.args), **words)

    def words(self, node: ast.Call) -> dict[str, Any]:
        """The keyword arguments of a call."""
        words = {word.arg: self.value(word.value) for word in node.keywords if word.arg}
        if len(words) < len(node.keywords):
            raise _UnknownError
        return words

    def refuse(self, node: ast.Raise) -> None:
        """Raise the same `UserError` if its message is known."""
        call = node.exc
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or len(call.args) != 1:
            raise _EndError
        if self.imported.get(call.func.id) != "UserError":
            raise _EndError
        raise UserError(str(self.value(call.args[0])))

    def value(self, node: ast.expr) -> Any:
        self.step()
        reader = getattr(self, f"_{type(node).__name__.lower()}", None)
        if reader is None:
            raise _UnknownError
        return reader(node)

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id not in self.known:
            raise _UnknownError
        return self.known[node.id]

    def _attribute(self, node: ast.Attribute) -> Any:
        name = ast.unparse(node)
        if name not in self.known:
            raise _UnknownError
        return self.known[name]

    def _tuple(self, node: ast.Tuple) -> Any:
        return tuple(map(self.value, node.elts))

    def _list(self, node: ast.List) -> Any:
        return list(map(self.value, node.elts))

    def _dict(self, node: ast.Dict) -> Any:
        keys = [self.value(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(self.value, node.values), strict=True))

    def _subscript(self, node: ast.Subscript) -> Any:
        return self.value(node.value)[self.value(node.slice)]

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        if type(node.op) not in SIGNS:
            raise _UnknownError
        return SIGNS[type(node.op)](self.value(node.operand))

    def _binop(self, node: ast.BinOp) -> Any:
        one, other = self.value(node.left), self.value(node.right)
        numbers = all(isinstance(value, int | float) and abs(value) < LARGEST for value in (one, other))
        if type(node.op) not in ARITHMETIC or not numbers:
            raise _UnknownError
        return ARITHMETIC[type(node.op)](one, other)

    def _boolop(self, node: ast.BoolOp) -> Any:
        value: Any = None
        for part in node.values:
            value = self.value(part)
            if bool(value) == isinstance(node.op, ast.Or):
                break
        return value

    def _compare(self, node: ast.Compare) -> Any:
        left = self.value(node.left)
        for sign, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part)
            if not COMPARISONS[type(sign)](left, right):
                return False
            left = right
        return True

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _joinedstr(self, node: ast.JoinedStr) -> str:
        return "".join(str(self.value(part)) for part in node.values)

    def _formattedvalue(self, node: ast.FormattedValue) -> str:
        value = self.value(node.value)
        form = self.value(node.format_spec) if node.format_spec else ""
        if not FORMAT.fullmatch(form) or node.conversion not in (-1, ord("r"), ord("s")):
            raise _UnknownError
        return format(repr(value) if node.conversion == ord("r") else value, form)

    def _call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        further = [ast.unparse(part) for part in node.args[1:]]
        if self.imported.get(name) == "fill_defaults" and further == ["self.traits"]:
            return fill_defaults(self.value(node.args[0]), self.traits, **self.words(node))
        if name not in FUNCTIONS or name in self.own or node.keywords:
            raise _UnknownError
        given = [self.value(part) for part in node.args]
        if name in ("int", "float") and not all(isinstance(one, int | float) for one in given):
            raise _UnknownError
        return FUNCTIONS[name](*given)
