"""A class and its bases, read from their files, in Python's method resolution order."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from clsuite.plugin.scopes import Definition, External, Found, Scope

HARMLESS = frozenset({"object", "abc.ABC", "typing.Generic", "typing.Protocol", "typing_extensions.Protocol"})
"""Bases that are not relevant for the declarations of a plugin."""
PLUGIN = "clsuite.plugin.base"
"""The module of the base class of all plugins."""
PLAIN = (*Definition.__args__, ast.Assign, ast.AnnAssign, ast.Expr, ast.Pass)
"""Statements in a class whose effect on its members is clear."""


@dataclass(frozen=True, eq=False)
class ClassSource:
    """A class in its file."""

    scope: Scope
    node: ast.ClassDef

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.name

    @cached_property
    def members(self) -> Mapping[str, Definition | ast.expr]:
        """Its own members by name: functions, classes and assigned values."""
        return dict(_members(self.node))

    @cached_property
    def unclear(self) -> str:
        """Why its source does not determine all its members; empty if it does."""
        node = self.node
        if node.decorator_list:
            return f"'{self.name}' is decorated"
        if node.keywords:
            return f"'{self.name}' is made with {node.keywords[0].arg}"
        if "__init_subclass__" in self.members:
            return f"'{self.name}' changes the classes that derive from it"
        for statement in node.body:
            if not isinstance(statement, PLAIN):
                return f"line {statement.lineno} of '{self.name}' is not a plain definition"
        line = next((one.lineno for one in self.scope.tree.body if _may_change(one, node)), 0)
        return f"line {line} may change '{self.name}'" if line else ""


@dataclass(frozen=True)
class Ancestry:
    """A class with its bases.

    Attributes:
        classes: The class, then its bases before `clsuite.plugin.Plugin`, in the order of Python's ``__mro__``.
        is_plugin: Whether it derives from `clsuite.plugin.Plugin`; None if the source alone does not determine this.
        unclear: Why the source alone is not sufficient; empty if it is.
    """

    classes: tuple[ClassSource, ...]
    is_plugin: bool | None
    unclear: str = ""

    @cached_property
    def members(self) -> Mapping[str, tuple[ClassSource, Definition | ast.expr]]:
        """All own and inherited members, each with the class that defines it."""
        return {name: (one, node) for one in reversed(self.classes) for name, node in one.members.items()}


def ancestry(scope: Scope, node: ast.ClassDef) -> Ancestry:
    """Read a class with its bases."""
    builder = _Builder()
    top = builder.stand_in(ClassSource(scope, node))
    classes = tuple(builder.sources[one] for one in top.__mro__ if one in builder.sources)
    unclear = next((text for text in (*builder.reasons, *(one.unclear for one in classes)) if text), "")
    is_plugin = True if issubclass(top, _Root) else None if builder.reasons else False
    return Ancestry(classes, is_plugin, unclear)


class _Root:
    """Represents `clsuite.plugin.Plugin`."""


@dataclass
class _Builder:
    """Creates empty classes with the bases in the sources, so that Python itself orders them.

    Attributes:
        sources: The source that each of the empty classes represents.
        reasons: Why bases could not be determined.
    """

    sources: dict[type, ClassSource] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    _made: dict[ast.ClassDef, type | None] = field(default_factory=dict)

    def stand_in(self, source: ClassSource) -> type:
        """Create the empty class for a source."""
        self._made[source.node] = None
        bases = [base for expression in source.node.bases for base in self._base(source, expression)]
        try:
            made: type = type(source.name, tuple(bases), {})
        except TypeError as error:  # an inconsistent order of bases, or a duplicate base
            self.reasons.append(f"'{source.name}': {error}")
            made = type(source.name, (), {})
        self.sources[made] = source
        self._made[source.node] = made
        return made

    def _base(self, source: ClassSource, expression: ast.expr) -> Iterator[type]:
        named = expression.value if isinstance(expression, ast.Subscript) else expression
        meaning = source.scope.resolve(named, source.node.lineno)
        if isinstance(meaning, External) and meaning.name in HARMLESS:
            return
        if isinstance(meaning, External) and meaning.name == "Plugin":  # in a text without its imports
            yield _Root
        elif isinstance(meaning, Found) and isinstance(meaning.node, ast.ClassDef):
            made = _Root if is_root(meaning) else self._of_class(meaning.scope, meaning.node)
            if made is not None:
                yield made
        else:
            self.reasons.append(f"the base '{ast.unparse(expression)}' of '{source.name}' cannot be read as a class")

    def _of_class(self, scope: Scope, node: ast.ClassDef) -> type | None:
        if node not in self._made:
            return self.stand_in(ClassSource(scope, node))
        if self._made[node] is None:
            self.reasons.append(f"'{node.name}' is a base of itself")
        return self._made[node]


def is_root(found: Found) -> bool:
    """Whether a definition is `clsuite.plugin.Plugin`."""
    return found.scope.name == PLUGIN and isinstance(found.node, ast.ClassDef) and found.node.name == "Plugin"


def find_class(scope: Scope, name: str) -> ast.ClassDef | None:
    """Find a class that a module defines itself."""
    found = [node for node in scope.tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return found[-1] if found else None


def plugin_classes(scope: Scope) -> list[str]:
    """The classes of a module that can be the plugin of its file.

    These derive from `clsuite.plugin.Plugin`; if there are none, those for which the source does not determine it.
    Bases of other classes in the file are left out, and so are names that begin with an underscore.
    """
    nodes = {node.name: node for node in scope.tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"}
    ancestries = {name: ancestry(scope, node) for name, node in nodes.items() if node.bases}
    bases = {one.node for found in ancestries.values() for one in found.classes[1:]}
    leaves = {name: found for name, found in ancestries.items() if nodes[name] not in bases}
    plugins = [name for name, found in leaves.items() if found.is_plugin]
    return plugins or [name for name, found in leaves.items() if found.is_plugin is None]


def _members(node: ast.ClassDef) -> Iterator[tuple[str, Definition | ast.expr]]:
    for statement in node.body:
        if isinstance(statement, Definition):
            yield statement.name, statement
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            yield statement.target.id, statement.value
        elif isinstance(statement, ast.Assign):
            yield from ((target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name))


def _may_change(statement: ast.stmt, cls: ast.ClassDef) -> bool:
    """Whether a statement after a class assigns to it, or passes it to a call that may change it."""
    if statement.lineno <= cls.lineno or isinstance(statement, Definition) or _is_main(statement):
        return False
    return any(_assigns_or_passes(inner, cls.name) for inner in ast.walk(statement))


def _assigns_or_passes(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Call):
        return any(_is(one, name) for one in (*node.args, *(word.value for word in node.keywords)))
    if isinstance(node, ast.Attribute):
        return _is(node.value, name) and not isinstance(node.ctx, ast.Load)
    return isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load)


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_main(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)


def calls_of(function: ast.AST) -> Sequence[ast.Call]:
    """All calls in a function."""
    return [node for node in ast.walk(function) if isinstance(node, ast.Call)]


def dotted_name(node: Any) -> str:
    """``a.b`` for a name or a chain of attributes; empty for anything else."""
    if isinstance(node, ast.Attribute) and (before := dotted_name(node.value)):
        return f"{before}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
