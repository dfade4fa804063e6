"""Reads what a plugin declares from its source, without importing it: torch stays out of `list` and `--dry-run`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clsuite.config.error_text import first_mistake
from clsuite.errors import unknown_word
from clsuite.plugin.former_names import FORMER_HOOKS, FORMER_TRAITS
from clsuite.plugin.source_hash import HashedSource, Home, LocalModule, hashed_source
from clsuite.plugin.traits import API_VERSION, Traits

MISSING = "<required>"
TRAITS = TypeAdapter(Traits)


@dataclass(frozen=True)
class Parameter:
    """A constructor argument: its name, its annotation as written, and its default (`MISSING` where it has none)."""

    name: str
    annotation: str
    default: Any


@dataclass(frozen=True)
class PluginSource:
    """What the source says.

    Attributes:
        summary: First line of the class's docstring.
        parameters: The constructor's arguments.
        traits: What it declares.
        methods: Names of the methods that it defines.
        text: The text of the file.
        aliases: Names given to types in the file.
        api: The version of the plugin API that it was written for.
        home: Where the file stands.
        constructor: The line of the constructor; 0 where the file has none of the class.
    """

    summary: str
    parameters: tuple[Parameter, ...]
    traits: Traits
    methods: frozenset[str]
    text: str = field(repr=False)
    aliases: Mapping[str, str] = field(default_factory=dict)
    api: int = API_VERSION
    home: Home | None = field(default=None, compare=False)
    constructor: int = field(default=0, compare=False)

    @cached_property
    def hashed(self) -> HashedSource:
        """Hash of the file and of all that it imports, with what was read for it; made when it is asked for."""
        found = hashed_source(ast.parse(self.text), self.home)
        if self.home is None or not self.home.module:
            return found
        own = LocalModule(str(self.home.path), self.text)
        return replace(found, modules={**found.modules, self.home.module: own})

    @property
    def sha256(self) -> str:
        """Hash of the file and of all that it imports, as `clsuite.plugin.source_hash` tells."""
        return self.hashed.sha256


def read_source(text: str, class_name: str, home: Home | None = None) -> PluginSource:
    """Read a plugin class from the text of its module.

    Bases that stand in the same module are followed.

    Args:
        text: The text of the module.
        class_name: The class.
        home: Where the module stands, from which its own imports are followed.

    Raises:
        SyntaxError: If the text is not Python.
        ValueError: If the class is not there, its traits or defaults are not literals, or it needs a newer clsuite.
    """
    module = ast.parse(text)
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    if class_name not in classes:
        raise ValueError(f"there is no class '{class_name}' in it")
    line = _line_of_bases(classes, class_name)
    members = {name: node for cls in reversed(line) for name, node in _members(cls)}
    _refuse_former(members)
    api = _api(members.get("api"))
    summary = (ast.get_docstring(classes[class_name]) or "").split("\n")[0]
    constructor = members.get("__init__")
    return PluginSource(
        summary=summary,
        parameters=_parameters(constructor) if isinstance(constructor, ast.FunctionDef) else (),
        traits=_traits(members.get("traits")),
        methods=frozenset(name for name, node in members.items() if isinstance(node, ast.FunctionDef)),
        text=text,
        aliases=_aliases(module),
        api=api,
        home=home,
        constructor=constructor.lineno if isinstance(constructor, ast.FunctionDef) else 0,
    )


def _refuse_former(members: Mapping[str, ast.AST]) -> None:
    """A hook by a name that it had once would never be called."""
    for name, node in members.items():
        if name not in FORMER_HOOKS or not isinstance(node, ast.FunctionDef):
            continue
        if [argument.arg for argument in node.args.args[1:2]] == ["learner"]:
            raise ValueError(
                f"line {node.lineno}: the hook {name} is called {FORMER_HOOKS[name]} since version 2 of the plugin API"
            )


def _line_of_bases(classes: dict[str, ast.ClassDef], name: str) -> list[ast.ClassDef]:
    line, todo = [], [name]
    while todo:
        current = classes.get(todo.pop(0))
        if current is not None and current not in line:
            line.append(current)
            todo += [base.id for base in current.bases if isinstance(base, ast.Name)]
    return line


def _members(node: ast.ClassDef) -> list[tuple[str, ast.AST]]:
    found: list[tuple[str, ast.AST]] = []
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef):
            found.append((statement.name, statement))
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            found.append((statement.target.id, statement.value))
        elif isinstance(statement, ast.Assign):
            found += [(target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name)]
    return found


def _parameters(constructor: ast.FunctionDef) -> tuple[Parameter, ...]:
    arguments = constructor.args
    plain = [*arguments.posonlyargs, *arguments.args][1:]
    without = len(plain) - len(arguments.defaults)
    pairs: list[tuple[ast.arg, ast.expr | None]] = [
        (argument, arguments.defaults[i - without] if i >= without else None) for i, argument in enumerate(plain)
    ]
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    return tuple(
        Parameter(
            argument.arg,
            ast.unparse(argument.annotation) if argument.annotation else "Any",
            MISSING if default is None else _literal(default, f"the default of '{argument.arg}'"),
        )
        for argument, default in pairs
    )


def _api(node: ast.AST | None) -> int:
    if not isinstance(node, ast.expr):
        return API_VERSION
    api = _literal(node, "api")
    if not isinstance(api, int) or isinstance(api, bool) or api < 1:
        raise ValueError(f"api must be the version of the plugin API, such as {API_VERSION}, not {api!r}")
    if api > API_VERSION:
        raise ValueError(
            f"it is written for version {api} of the plugin API, and this clsuite has version {API_VERSION}: "
            "install a newer clsuite"
        )
    return api


def _traits(node: ast.AST | None) -> Traits:
    if node is None:
        return Traits()
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("traits must be written as Traits(name=literal, ...)")
    given = {str(word.arg): _literal(word.value, f"traits.{word.arg}") for word in node.keywords}
    known = [one.name for one in fields(Traits)]
    if unknown := [name for name in given if name not in known]:
        if former := FORMER_TRAITS.get(unknown[0]):
            raise ValueError(f"traits.{unknown[0]} is called traits.{former} since version 2 of the plugin API")
        raise ValueError(unknown_word(f"entry 'traits.{unknown[0]}'", unknown[0], known))
    try:
        return TRAITS.validate_python(given)
    except ValidationError as error:
        raise ValueError(first_mistake(error, "traits", "traits.")) from error


def _literal(node: ast.expr, what: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be a literal, not '{ast.unparse(node)}'") from error


def _aliases(module: ast.Module) -> dict[str, str]:
    """Names given to types in the module, such as ``Kind = Literal["a", "b"]``."""
    return {
        statement.targets[0].id: ast.unparse(statement.value)
        for statement in module.body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
