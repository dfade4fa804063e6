"""What an imported class declares: the truth, of which `clsuite.plugin.introspection` reads what the source says."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from clsuite.config.error_text import shown
from clsuite.plugin.annotations import PLAIN
from clsuite.plugin.expressions import valid_traits
from clsuite.plugin.hooks import is_hook
from clsuite.plugin.introspection import MOST_ALIASES, PluginSource, check_api, check_callable, first_line
from clsuite.plugin.signature import MISSING, Parameter, PassedOn, passed_on
from clsuite.plugin.source_hash import Home
from clsuite.plugin.traits import API_VERSION, Traits

if TYPE_CHECKING:
    from clsuite.plugin.base import Plugin


def describe(cls: type[Plugin], text: str = "", home: Home | None = None) -> PluginSource:
    """What a class declares.

    Args:
        cls: The class.
        text: The text of its file.
        home: Where that file is.

    Raises:
        ValueError: If it declares what cannot be, such as a default that no record can hold.
    """
    traits = cls.traits
    if not isinstance(traits, Traits):
        raise ValueError(f"traits must be written as Traits(name=value, ...), not {shown(traits)}")
    return PluginSource(
        summary=first_line(vars(cls).get("__doc__")),
        parameters=tuple(_parameters(cls, 0)),
        traits=valid_traits(vars(traits)),
        hooks=frozenset(_hooks(cls)),
        text=text,
        api=check_api(getattr(cls, "api", API_VERSION)),
        home=home,
    )


def differences(one: PluginSource, other: PluginSource) -> list[str]:
    """What two descriptions of a class do not agree in, in plain words."""
    of_arguments = [[(each.name, each.default) for each in source.parameters] for source in (one, other)]
    equal = {"arguments": of_arguments[0] == of_arguments[1], "traits": one.traits == other.traits,
            "hooks": one.hooks == other.hooks}  # fmt: skip
    return [name for name, same in equal.items() if not same]


def to_text(source: PluginSource) -> str:
    """A description as a literal of Python, without the text of its file; see `from_text`."""
    return repr({
        "summary": source.summary,
        "parameters": [(one.name, one.annotation, one.default, dict(one.aliases)) for one in source.parameters],
        "traits": _plain(vars(source.traits)),
        "hooks": sorted(source.hooks),
        "api": source.api,
    })  # fmt: skip


def from_text(described: str, text: str, home: Home | None) -> PluginSource:
    """The description that `to_text` wrote.

    Raises:
        ValueError: If it is none.
    """
    try:
        given = ast.literal_eval(described)
        return PluginSource(
            summary=given["summary"],
            parameters=tuple(Parameter(*one) for one in given["parameters"]),
            traits=valid_traits(given["traits"]),
            hooks=frozenset(given["hooks"]),
            text=text,
            api=given["api"],
            home=home,
        )
    except (SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError(f"no description of a plugin: {error}") from error


def _hooks(cls: type[Plugin]) -> Iterator[str]:
    from clsuite.plugin.base import Plugin

    for name in filter(is_hook, dir(cls)):
        value = inspect.getattr_static(cls, name)
        if value is not inspect.getattr_static(Plugin, name, None):
            called = callable(value) or hasattr(value, "__get__")
            check_callable(name, 0, inspect.iscoroutinefunction(getattr(cls, name)), not called)
            yield name


def _parameters(cls: type[Plugin], first: int) -> list[Parameter]:
    """The arguments of the constructor that a class finds from a place in its ``__mro__`` on."""
    from clsuite.plugin.base import Plugin

    line = [one for one in cls.__mro__ if one not in Plugin.__mro__]
    place = next((i for i, one in enumerate(line) if i >= first and "__init__" in vars(one)), None)
    if place is None:
        return []
    constructor = vars(line[place])["__init__"]
    signature = list(inspect.signature(constructor).parameters.values())[1:]
    given = _passed_on(constructor) if any(one.kind is one.VAR_KEYWORD for one in signature) else None
    named = [one for one in signature if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    own = [_parameter(one, getattr(inspect.unwrap(constructor), "__globals__", {})) for one in named]
    if given is None:
        return own
    base = inspect.unwrap(constructor).__globals__.get(given.base.partition(".")[0])
    for part in given.base.split(".")[1:]:
        base = getattr(base, part, None)
    following = (line.index(base) if base in line else len(line)) if given.base else place + 1
    return [*own, *given.left_of(_parameters(cls, following), [parameter.name for parameter in own])]


def _passed_on(constructor: Any) -> PassedOn | None:
    """What a constructor passes on, where its source is there; one that a decorator has made has none."""
    with suppress(OSError, TypeError, SyntaxError, IndexError):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(constructor)))).body
        return passed_on(node) if isinstance(node, ast.FunctionDef) else None
    return None


def _parameter(parameter: inspect.Parameter, names: Mapping[str, Any]) -> Parameter:
    """An argument as it was written.

    Raises:
        ValueError: If no record can hold its default.
    """
    default = MISSING if parameter.default is parameter.empty else parameter.default
    try:
        same = ast.literal_eval(repr(default)) == default
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        same = False
    if not same:
        raise ValueError(
            f"the default of '{parameter.name}' is {shown(default)}, which no record can hold: give a number, a text, "
            "True, False, None, or a list, tuple or dictionary of these"
        )
    if parameter.annotation is parameter.empty:
        return Parameter(parameter.name, "Any", default)
    given = parameter.annotation
    annotation = given if isinstance(given, str) else inspect.formatannotation(given)
    return Parameter(parameter.name, annotation, default, dict(_aliases(annotation, names)))


def _aliases(annotation: str, names: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the names in an annotation stand for, where they are types that a file has given a name."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        found = [node.id for node in ast.walk(ast.parse(annotation, mode="eval")) if isinstance(node, ast.Name)]
        for name in found[:MOST_ALIASES]:
            if name in names and name not in PLAIN and not isinstance(names[name], type):
                written = inspect.formatannotation(names[name])
                if written != name:  # Literal is Literal
                    yield name, written


def _plain(value: Any) -> Any:
    """A value whose ``repr`` is a literal."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(inner) for inner in value)
    return value
