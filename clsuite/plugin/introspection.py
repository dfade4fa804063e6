"""Reads the declarations of a plugin from its source, so that `list` and `--dry-run` need not import it and torch.

Bases and names of constants are followed from file to file (`clsuite.plugin.scopes`). If the source alone is not
sufficient (a computed base, a decorated class), `PluginSource.unclear` says why, and `clsuite.plugin.import_check`
imports the class once, in another process.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from clsuite.errors import nearest
from clsuite.plugin.annotations import PLAIN
from clsuite.plugin.expressions import Expressions, UnclearError
from clsuite.plugin.former_names import FORMER_HOOKS
from clsuite.plugin.hooks import is_hook
from clsuite.plugin.inheritance import Ancestry, ClassSource, ancestry, find_class, is_root
from clsuite.plugin.scopes import Definition, External, Found, Scope, scope_of
from clsuite.plugin.signature import MISSING, Constructor, Parameter, own_arguments, passed_on
from clsuite.plugin.source_hash import HashedSource, Home, LocalModule, hashed_source
from clsuite.plugin.strategy_facts import Alone
from clsuite.plugin.syntax_hash import parsed
from clsuite.plugin.traits import API_VERSION, Traits

MOST_ALIASES = 100
"""Maximum number of aliases that are followed for one annotation."""


@dataclass(frozen=True)
class PluginSource:
    """The declarations of a plugin, from its source or its imported class.

    Attributes:
        summary: First line of the class's docstring.
        parameters: The constructor's arguments, including those that it passes on to its bases.
        traits: The traits.
        hooks: Names of its hooks, including inherited ones.
        text: The text of the file.
        api: The version of the plugin API that it was written for.
        home: The location of the file.
        unclear: Why the source alone is not sufficient; empty if it is.
        constructors: The constructors that check the arguments: its own, and those that it passes them on to.
        alone: Why it is a method by itself, learned by the loop of another library; None for a plugin.
    """

    summary: str
    parameters: tuple[Parameter, ...]
    traits: Traits
    hooks: frozenset[str]
    text: str = field(repr=False)
    api: int = API_VERSION
    home: Home | None = field(default=None, compare=False)
    unclear: str = ""
    constructors: tuple[Constructor, ...] = field(default=(), compare=False, repr=False)
    alone: Alone | None = field(default=None, compare=False)

    @cached_property
    def hashed(self) -> HashedSource:
        """Hash of the file and its imports, with the content that was read; computed at the first access."""
        found = hashed_source(parsed(self.text), self.home)
        if self.home is None or not self.home.module:
            return found
        own = LocalModule(str(self.home.path), self.text)
        return replace(found, modules={**found.modules, self.home.module: own})

    @property
    def sha256(self) -> str:
        """Hash of the file and its imports; see `clsuite.plugin.source_hash`."""
        return self.hashed.sha256


@dataclass(frozen=True)
class PluginInfo:
    """A plugin of a distribution.

    Attributes:
        name: Its name in benchmarks and on the command line.
        target: ``module:Class``, or the absolute path of a file instead of the module.
        distribution: Name and version of its distribution.
        source: Its declarations; None if it is broken.
        problem: Why it is broken; empty if it is not.
    """

    name: str
    target: str
    distribution: str
    source: PluginSource | None
    problem: str = ""


def read_source(text: str, class_name: str, home: Home | None = None) -> PluginSource:
    """Read a plugin class from the text of its module, and its bases from their files.

    Args:
        text: The text of the module.
        class_name: The class.
        home: The location of the module, from which its imports are followed.

    Raises:
        SyntaxError: If the text is not Python.
        ValueError: If the class does not exist, has an invalid declaration, or needs a newer clsuite.
    """
    scope = scope_of(text, home)
    node = find_class(scope, class_name)
    if node is None:
        raise ValueError(_missing(scope.tree, class_name, home is not None and not home.module))
    return _Reader(ancestry(scope, node)).source(text, home)


def _missing(tree: ast.Module, name: str, in_file: bool) -> str:
    """What to say of a name that a module does not have; in a file it may also be that of a function."""
    classes = [one.name for one in tree.body if isinstance(one, ast.ClassDef)]
    functions = [one.name for one in tree.body if isinstance(one, ast.FunctionDef)] if in_file else []
    near = nearest(name, [*classes, *functions], 3)
    what = "class or function" if in_file and (name[:1].islower() or set(near) & set(functions)) else "class"
    hint = f". Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"there is no {what} '{name}' in it{hint}"


@dataclass
class _Reader:
    """Reads the declarations of a class and its bases.

    Attributes:
        ancestry: The class with its bases.
        unclear: What their source does not determine.
        constructors: The constructors that were read.
    """

    ancestry: Ancestry
    unclear: list[str] = field(default_factory=list)
    constructors: list[Constructor] = field(default_factory=list)

    def source(self, text: str, home: Home | None) -> PluginSource:
        """Read all declarations of a plugin."""
        refuse_former(self.ancestry)
        api = check_api(self._member("api", API_VERSION))
        hooks = frozenset(name for name in self.ancestry.members if is_hook(name) and self._has_hook(name))
        return PluginSource(
            summary=first_line(ast.get_docstring(self.ancestry.classes[0].node)),
            parameters=tuple(self._parameters(0)),
            traits=self._traits(),
            hooks=hooks,
            text=text,
            api=api,
            home=home,
            unclear=next((text for text in (self.ancestry.unclear, *self.unclear) if text), ""),
            constructors=tuple(self.constructors),
        )

    def _member(self, name: str, default: Any) -> Any:
        """The value that the class or its nearest base assigns to a name."""
        if name not in self.ancestry.members:
            return default
        owner, node = self.ancestry.members[name]
        if isinstance(node, Definition):
            self.unclear.append(f"{name} is computed")
            return default
        return self._value(owner, node, name, default)

    def _value(self, owner: ClassSource, node: ast.expr, what: str, default: Any) -> Any:
        try:
            return Expressions(owner.scope, owner.members, traits_of).value(node)
        except UnclearError as error:
            self.unclear.append(f"{what}: {error}")
            return default

    def _traits(self) -> Traits:
        traits = self._member("traits", Traits())
        if not isinstance(traits, Traits):
            raise ValueError("traits must be written as Traits(name=value, ...)")
        return traits

    def _has_hook(self, hook: str) -> bool:
        """Whether a hook is overridden with something callable, and is not that of `clsuite.plugin.Plugin`."""
        owner, node = self.ancestry.members[hook]
        if isinstance(node, ast.Attribute) and node.attr == hook and _lacks_hook(owner.scope, node.value, hook):
            return False
        check_callable(hook, node.lineno, isinstance(node, ast.AsyncFunctionDef), isinstance(node, NOT_CALLED))
        return True

    def _parameters(self, first: int) -> list[Parameter]:
        """The arguments of the first constructor among the class and its bases, from a position on."""
        classes = self.ancestry.classes
        position = next((i for i, one in enumerate(classes) if i >= first and "__init__" in one.members), None)
        if position is None:
            return []
        owner = classes[position]
        constructor = owner.members["__init__"]
        if not isinstance(constructor, ast.FunctionDef) or constructor.decorator_list:
            self.unclear.append(f"the constructor of '{owner.name}' is computed")
            return []
        own = [self._parameter(owner, argument, default) for argument, default in own_arguments(constructor)]
        names = [parameter.name for parameter in own]
        self.constructors.append(Constructor(owner.scope.text, constructor.lineno, frozenset(names)))
        first_base, given = len(self.constructors), passed_on(constructor)
        if given is None:
            return own
        base = self._position_of(owner, given.base) if given.base else position + 1
        left = given.left_of(self._parameters(base), names)
        unchanged = frozenset(parameter.name for parameter in left)
        bases = self.constructors[first_base:]
        self.constructors[first_base:] = [replace(one, names=one.names & unchanged) for one in bases]
        return [*own, *left]

    def _position_of(self, owner: ClassSource, base: str) -> int:
        """The position of a base that a constructor names."""
        meaning = owner.scope.resolve(ast.parse(base, mode="eval").body, owner.node.lineno)
        node = meaning.node if isinstance(meaning, Found) else None
        return next((i for i, one in enumerate(self.ancestry.classes) if one.node is node), len(self.ancestry.classes))

    def _parameter(self, owner: ClassSource, argument: ast.arg, default: ast.expr | None) -> Parameter:
        what = f"the default of '{argument.arg}'"
        return Parameter(
            argument.arg,
            ast.unparse(argument.annotation) if argument.annotation else "Any",
            MISSING if default is None else self._value(owner, default, what, None),
            dict(_aliases(owner.scope, argument.annotation)) if argument.annotation else {},
        )


NOT_CALLED = (ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.JoinedStr)
"""Expressions that are never callable."""


def _lacks_hook(scope: Scope, owner: ast.expr, hook: str) -> bool:
    """Whether an expression names a class that does not override a hook."""
    meaning = scope.resolve(owner, owner.lineno)
    if isinstance(meaning, Found) and isinstance(meaning.node, ast.ClassDef):
        found = ancestry(meaning.scope, meaning.node)
        return is_root(meaning) or (not found.unclear and hook not in found.members)
    return isinstance(meaning, External) and meaning.name == "Plugin"


def first_line(docstring: str | None) -> str:
    """The first line of a docstring; empty if there is none."""
    return (docstring or "").strip().split("\n")[0]


def check_callable(hook: str, line: int, is_async: bool, is_value: bool) -> None:
    """Check that a member with a hook's name can be called.

    Raises:
        ValueError: If it cannot.
    """
    where = f"line {line}: " if line else ""
    if is_async:
        raise ValueError(f"{where}the hook {hook} is async, and nothing awaits it: write def {hook}")
    if is_value:
        raise ValueError(
            f"{where}{hook} is a value, but a hook is called: write def {hook}, or {hook} = Plugin.{hook} to disable "
            "that of a base class"
        )


def check_api(api: Any) -> int:
    """Check the version of the plugin API that a plugin was written for.

    Raises:
        ValueError: If it is not a version, or is newer than that of this clsuite.
    """
    if not isinstance(api, int) or isinstance(api, bool) or api < 1:
        raise ValueError(f"api must be the version of the plugin API, such as {API_VERSION}, not {api!r}")
    if api > API_VERSION:
        raise ValueError(
            f"it is written for version {api} of the plugin API, but this clsuite has version {API_VERSION}: "
            "install a newer clsuite"
        )
    return api


def refuse_former(found: Ancestry) -> None:
    """Refuse a hook with a former name, which would never be called.

    Raises:
        ValueError: If there is one.
    """
    for name in FORMER_HOOKS.keys() & found.members.keys():
        _, node = found.members[name]
        if isinstance(node, ast.FunctionDef) and [one.arg for one in node.args.args[1:2]] == ["learner"]:
            raise ValueError(
                f"line {node.lineno}: the hook {name} is called {FORMER_HOOKS[name]} since version 2 of the plugin API"
            )


def traits_of(found: Found) -> Traits:
    """Read the traits of a class that an expression names.

    Raises:
        UnclearError: If its source does not determine them.
    """
    assert isinstance(found.node, ast.ClassDef)
    reader = _Reader(ancestry(found.scope, found.node))
    traits = reader._traits()
    if reason := next((text for text in (reader.ancestry.unclear, *reader.unclear) if text), ""):
        raise UnclearError(reason)
    return traits


def _aliases(scope: Scope, annotation: ast.expr) -> Iterator[tuple[str, str]]:
    """The aliases in an annotation, such as ``Kind = Literal["a", "b"]``, and the aliases in these."""
    todo, seen = [(scope, annotation)], set[str]()
    while todo and len(seen) < MOST_ALIASES:
        scope, node = todo.pop()
        for name in _names_in(node):
            found = scope.look_up(name) if name not in seen and name not in PLAIN else None
            seen.add(name)
            if isinstance(found, Found) and isinstance(found.node, ast.expr):
                todo.append((found.scope, found.node))
                yield name, ast.unparse(found.node)


def _names_in(node: ast.expr) -> Iterator[str]:
    """The names in an annotation, including its quoted parts."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield from re.findall(r"[A-Za-z_]\w*", inner.value)
