"""Resolves names in Python files, through imports from file to file. Nothing is imported.

Modules are searched in the same way as by `clsuite.plugin.source_hash`, so that the files of all classes found here
are part of the run key.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from clsuite.plugin.source_hash import FRAMEWORK, Home, absolute_name, find_module
from clsuite.plugin.syntax_hash import parsed
from clsuite.regular_files import read_text

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
LONGEST_CHAIN = 20
"""Maximum number of files that a name is followed through, as a guard against circles."""
UNREAD = frozenset({*FRAMEWORK, *sys.stdlib_module_names}) - {"clsuite"}
"""Packages whose files are not read: their members are known only by dotted names."""


@dataclass(frozen=True)
class Imported:
    """A name that an import binds.

    Attributes:
        module: The absolute name of the module.
        attribute: The imported member; empty if the name is the module itself.
    """

    module: str
    attribute: str = ""


@dataclass(frozen=True)
class Unknown:
    """A name whose value the source alone does not determine: it is bound in an ``if``, a ``try``, a loop, ..."""


Binding = Imported | Unknown | Definition | ast.expr


@dataclass(frozen=True)
class External:
    """An object that is only known by its dotted name, such as ``torch.nn.Module`` or the built-in ``dict``."""

    name: str


@dataclass(frozen=True)
class Found:
    """The definition that a name refers to.

    Attributes:
        scope: The module that it is bound in.
        node: Its definition there, or the expression that is assigned to it.
    """

    scope: Scope
    node: Definition | ast.expr


@dataclass(frozen=True, eq=False)
class Scope:
    """The names of a module, with what they refer to.

    Attributes:
        name: Its dotted name; empty for a file that belongs to no package.
        path: Its file; None if only its text is known.
        text: Its text.
        tree: Its syntax tree.
        package: The dotted name at which its relative imports start.
        folder: A folder that is searched first for modules: that of a plugin that is a file.
        stars: The modules from which all names are imported.
    """

    name: str
    path: Path | None
    text: str = field(repr=False)
    tree: ast.Module = field(repr=False)
    package: str
    folder: Path | None
    _bound: dict[str, list[tuple[int, Binding]]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Collect the names that each statement binds."""
        for name, line, binding in _bindings(self.tree.body, self.package):
            if name == "*" and isinstance(binding, Imported):
                self.stars.append(binding.module)
            else:
                self._bound.setdefault(name, []).append((line, binding))

    def look_up(self, name: str, before: int | None = None, chain: int = 0) -> Meaning:
        """Resolve a name.

        Args:
            name: The name.
            before: The line that uses it; by default the end of the module, which is what imports see.
            chain: Number of files that it has been followed through.
        """
        bound = [binding for line, binding in self._bound.get(name, []) if before is None or line < before]
        if chain > LONGEST_CHAIN:
            return None
        if bound:
            return self._meaning(bound[-1], chain)
        for star in self.stars:
            module = self.module(star)
            found = module.look_up(name, chain=chain + 1) if isinstance(module, Scope) else None
            if found is not None and not isinstance(found, External):
                return found
        return None if self.stars else External(name)

    def look_up_dotted(self, node: ast.expr, before: int | None = None) -> Meaning:
        """Resolve a name or a chain of attributes, such as ``replay.Replay``."""
        if isinstance(node, ast.Name):
            return self.look_up(node.id, before)
        if not isinstance(node, ast.Attribute):
            return None
        whole = self.look_up_dotted(node.value, before)
        if isinstance(whole, External):
            return External(f"{whole.name}.{node.attr}")
        return whole.member(node.attr, 0) if isinstance(whole, Scope) else None

    def resolve(self, node: ast.expr, before: int | None = None) -> Meaning:
        """Resolve as `look_up_dotted`, and follow assignments of other names, such as ``Base = module.Replay``."""
        meaning = self.look_up_dotted(node, before)
        for _ in range(LONGEST_CHAIN):
            if not (isinstance(meaning, Found) and isinstance(meaning.node, ast.Name | ast.Attribute)):
                break
            meaning = meaning.scope.look_up_dotted(meaning.node, meaning.node.lineno)
        return meaning

    def member(self, name: str, chain: int) -> Meaning:
        """Resolve an attribute of this module as another module sees it."""
        if name in self._bound or self.stars:
            return self.look_up(name, chain=chain + 1)
        return self.module(f"{self.name}.{name}") if self.name else None

    def module(self, name: str) -> Meaning:
        """Find another module as an import in this one does."""
        if name.partition(".")[0] in UNREAD:
            return External(name)
        spec = find_module(name, self.folder)
        if spec is None:
            return None
        if spec.origin is None or not spec.has_location:  # a namespace package
            return Scope(name, None, "", ast.Module([], []), name, self.folder)
        return read_scope(Home(name, Path(spec.origin), spec.submodule_search_locations is not None), self.folder)

    def _meaning(self, binding: Binding, chain: int) -> Meaning:
        if isinstance(binding, Unknown):
            return None
        if not isinstance(binding, Imported):
            return Found(self, binding)
        if binding.module == self.name and binding.attribute:  # ``from . import part`` in the package itself
            return self.module(f"{self.name}.{binding.attribute}")
        module = self.module(binding.module)
        if not binding.attribute or module is None:
            return module
        if isinstance(module, External):
            return External(f"{module.name}.{binding.attribute}")
        return module.member(binding.attribute, chain) if isinstance(module, Scope) else None


Meaning = Found | External | Scope | None
"""The object that a name refers to; None if the source alone does not determine it."""


def read_scope(home: Home, folder: Path | None = None) -> Scope | None:
    """Read the names of a module's file; None if it cannot be read."""
    try:
        return scope_of(read_text(home.path), home, folder)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def scope_of(text: str, home: Home | None = None, folder: Path | None = None) -> Scope:
    """Read the names of a module.

    Args:
        text: Its text.
        home: Its location.
        folder: A further folder in which imported modules are searched; for a file that belongs to no package, the
            folder of the file.

    Raises:
        SyntaxError: If the text is not Python.
    """
    alone = home is not None and not home.module
    return _scope_of(text, home, home.path.parent if home is not None and alone else folder)


@lru_cache(maxsize=256)
def _scope_of(text: str, home: Home | None, folder: Path | None) -> Scope:
    name = home.module if home else ""
    package = name if home and home.is_package else name.rpartition(".")[0]
    return Scope(name, home.path if home else None, text, parsed(text), package, folder)


def _bindings(body: Sequence[ast.stmt], package: str) -> Iterator[tuple[str, int, Binding]]:
    """Name, line and value of each binding in the statements of a module."""
    for node in body:
        if isinstance(node, Definition):
            yield node.name, node.lineno, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from _of_import(node, package)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield from _of_assignment(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            yield from _bindings([*node.body, *node.orelse], package)
        elif not isinstance(node, ast.Expr | ast.Pass):
            yield from ((name, node.lineno, Unknown()) for name in _bound_within(node))


def _of_import(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, int, Binding]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            module = absolute_name(node.module or "", node.level, package)
            taken = Imported(module, alias.name) if module else Imported(alias.name)
            yield alias.asname or alias.name, node.lineno, Imported(module) if alias.name == "*" else taken
        elif alias.asname:
            yield alias.asname, node.lineno, Imported(alias.name)
        else:
            top = alias.name.partition(".")[0]
            yield top, node.lineno, Imported(top)


def _of_assignment(node: ast.Assign | ast.AnnAssign) -> Iterator[tuple[str, int, Binding]]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        if isinstance(target, ast.Name):
            if node.value is not None:
                yield target.id, node.lineno, node.value
        else:
            names = (name for inner in ast.walk(target) for name in _stored(inner))
            yield from ((name, node.lineno, Unknown()) for name in names)


def _bound_within(node: ast.stmt) -> Iterator[str]:
    """Names that a compound statement may bind, change or delete."""
    for inner in ast.walk(node):
        if isinstance(inner, Definition):
            yield inner.name
        elif isinstance(inner, ast.alias):
            yield (inner.asname or inner.name).partition(".")[0]
        else:
            yield from _stored(inner)


def _stored(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
