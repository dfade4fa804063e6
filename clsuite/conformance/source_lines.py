"""Finds the line of a plugin's file that caused a finding. Needs no torch."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

Predicate = Callable[[ast.AST], bool]

RANDOM = re.compile(
    r"(torch\.(rand|normal|bernoulli|multinomial|poisson|manual_seed|seed)\w*|(np|numpy)\.random\.\w+|random\.\w+"
    r"|.*\.(normal_|uniform_|bernoulli_|random_|exponential_)|(nn|torch\.nn)\.\w+|.*init\.\w+_|.*seed_everything"
    r"|F\.(alpha_|feature_alpha_)?dropout\w*)"
)


@dataclass(frozen=True)
class Lines:
    """The source of a plugin's class.

    Attributes:
        path: Its file.
        text: The file's text.
        class_name: Name of the class.
    """

    path: Path
    text: str
    class_name: str

    @cached_property
    def module(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text)

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """All classes of the file, by name."""
        return {node.name: node for node in self.module.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """Functions of the module, then methods of the class and of its bases in the same file, by name."""
        found = {node.name: node for node in self.module.body if isinstance(node, ast.FunctionDef)}
        todo, methods = [self.class_name], dict[str, ast.FunctionDef]()
        while todo:
            cls = self.classes.get(todo.pop(0))
            for node in cls.body if cls else []:
                if isinstance(node, ast.FunctionDef):
                    methods.setdefault(node.name, node)
            todo += [base.id for base in cls.bases if isinstance(base, ast.Name)] if cls else []
        return {**found, **methods}

    def code(self, line: int) -> str:
        """The text of a line."""
        lines = self.text.splitlines()
        return lines[line - 1].strip() if 0 < line <= len(lines) else ""

    def of_class(self) -> int:
        """The first line of the class."""
        return self.classes[self.class_name].lineno if self.class_name in self.classes else 1

    def of_traits(self) -> int:
        """The line of the class's traits, or else its first line."""
        cls = self.classes.get(self.class_name)
        for node in cls.body if cls else []:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            if "traits" in map(dotted, targets):
                return node.lineno
        return self.of_class()

    def of_hook(self, hook: str) -> int:
        """The first line of a hook, or else of the class."""
        return self.functions[hook].lineno if hook in self.functions else self.of_class()

    def find(self, hook: str, *predicates: Predicate) -> int:
        """The first matching line: in the hook, in functions that it calls, in the class, or else the hook's first."""
        for node, predicate in product(self._scopes(hook), predicates):
            hits = [
                inner.lineno for inner in ast.walk(node) if isinstance(inner, ast.stmt | ast.expr) and predicate(inner)
            ]
            if hits:
                return min(hits)
        return self.of_hook(hook)

    def all(self, predicate: Predicate) -> list[int]:
        """All lines of the file that match a predicate, without duplicates."""
        nodes = (node for node in ast.walk(self.module) if isinstance(node, ast.stmt | ast.expr))
        return sorted({node.lineno for node in nodes if predicate(node)})

    def _scopes(self, hook: str) -> Iterator[ast.AST]:
        todo, seen = [hook], set[str]()
        while todo:
            name = todo.pop(0)
            node = self.functions.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            yield node
            todo += [dotted(call.func).removeprefix("self.") for call in ast.walk(node) if isinstance(call, ast.Call)]
        if self.class_name in self.classes:
            yield self.classes[self.class_name]
        yield self.module


def dotted(node: ast.AST) -> str:
    """``a.b.c`` for a chain of attributes, without calls and subscripts."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return dotted(node.value)
    if isinstance(node, ast.Call):
        return dotted(node.func)
    return node.id if isinstance(node, ast.Name) else ""


def root(node: ast.AST) -> str:
    """The name at the start of a chain of attributes and subscripts; empty if it contains a call."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def draws(node: ast.AST) -> bool:
    """Whether a node draws random numbers without its own generator, or seeds the global one."""
    if not isinstance(node, ast.Call) or any(word.arg == "generator" for word in node.keywords):
        return False
    return RANDOM.fullmatch(dotted(node.func)) is not None


def calls(*names: str) -> Predicate:
    """Match calls of a method or function with one of the names."""
    return lambda node: isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in names


def assigns(*attributes: str) -> Predicate:
    """Match assignments to an attribute with one of the names, or to a part of it."""

    def check(node: ast.AST) -> bool:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if not isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            return False
        flat = [one for target in targets for one in (target.elts if isinstance(target, ast.Tuple) else [target])]
        return any(set(dotted(target).split(".")) & set(attributes) for target in flat if target is not None)

    return check


def either(*predicates: Predicate) -> Predicate:
    """Match nodes that match any of the predicates."""
    return lambda node: any(predicate(node) for predicate in predicates)


def writes_into(function: ast.FunctionDef | None) -> Predicate:
    """Match in-place changes of a function's arguments, or of values that were taken from them."""
    names = {argument.arg for argument in function.args.args[1:]} if function else set[str]()
    for node in ast.walk(function) if function else ():
        if isinstance(node, ast.Assign) and root(node.value) in names:
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}

    def check(node: ast.AST) -> bool:
        if isinstance(node, ast.AugAssign):
            return root(node.target) in names
        if isinstance(node, ast.Assign):
            return any(not isinstance(target, ast.Name) and root(target) in names for target in node.targets)
        return isinstance(node, ast.Call) and _in_place(node, names)

    return check


def _in_place(node: ast.Call, names: set[str]) -> bool:
    if any(word.arg == "out" and root(word.value) in names for word in node.keywords):
        return True
    inside = isinstance(node.func, ast.Attribute) and root(node.func.value) in names
    return inside and re.fullmatch(r".*[a-z]_", dotted(node.func)) is not None


def returns(names: Sequence[str]) -> Predicate:
    """Match ``return`` statements that call one of the functions or methods."""

    def check(node: ast.AST) -> bool:
        return isinstance(node, ast.Return) and any(calls(*names)(inner) for inner in ast.walk(node))

    return check
