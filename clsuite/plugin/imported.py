"""The declarations of an imported class, which are authoritative; `clsuite.plugin.introspection` reads the source."""

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
    """Return the declarations of a class.

    Args:
        cls: The class.
        text: The text of its file.
        home: The location of the file.

    Raises:
        ValueError: If a declaration is not valid, such as a default that records cannot store.
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
    """Name the parts in which two descriptions of a class differ."""
    of_arguments = [[(each.name, each.default) for each in source.parameters] for source in (one, other)]
    equal = {"arguments": of_arguments[0] == of_arguments[1], "traits": one.traits == other.traits,
            "hooks": one.hooks == other.hooks}  # fmt: skip
    return [name for name, same in equal.items() if not same]


def to_text(source: PluginSource) -> str:
    """Write a description as a Python literal, without the text of its file; see `from_text`."""
    return repr({
        "summary": source.summary,
        "parameters": [(one.name, one.annotation, one.default, dict(one.aliases)) for one in source.parameters],
        "traits": _plain(vars(source.traits)),
        "hooks": sorted(source.hooks),
        "api": source.api,
    })  # fmt: skip


def from_text(described: str, text: str, home: Home | None) -> PluginSource:
    """Read a description that `to_text` wrote.

    Raises:
        ValueError: If the text is not a description.
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
        raise ValueError(f"not a description of a plugin: {error}") from error


def _hooks(cls: type[Plugin]) -> Iterator[str]:
    from clsuite.plugin.base import Plugin

    for name in filter(is_hook, dir(cls)):
        value = inspect.getattr_static(cls, name)
        if value is not inspect.getattr_static(Plugin, name, None):
            called = callable(value) or hasattr(value, "__get__")
            check_callable(name, 0, inspect.iscoroutinefunction(getattr(cls, name)), not called)
            yield name


def _parameters(cls: type[Plugin], first: int) -> list[Parameter]:
    """The arguments of the first constructor in the ``__mro__`` of a class from a position on."""
    from clsuite.plugin.base import Plugin

    classes = [one for one in cls.__mro__ if one not in Plugin.__mro__]
    position = next((i for i, one in enumerate(classes) if i >= first and "__init__" in vars(one)), None)
    if position is None:
        return []
    constructor = vars(classes[position])["__init__"]
    signature = list(inspect.signature(constructor).parameters.values())[1:]
    given = _passed_on(constructor) if any(one.kind is one.VAR_KEYWORD for one in signature) else None
    named = [one for one in signature if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    own = [_parameter(one, getattr(inspect.unwrap(constructor), "__globals__", {})) for one in named]
    if given is None:
        return own
    base = inspect.unwrap(constructor).__globals__.get(given.base.partition(".")[0])
    for part in given.base.split(".")[1:]:
        base = getattr(base, part, None)
    following = (classes.index(base) if base in classes else len(classes)) if given.base else position + 1
    return [*own, *given.left_of(_parameters(cls, following), [parameter.name for parameter in own])]


def _passed_on(constructor: Any) -> PassedOn | None:
    """The arguments that a constructor passes on; None if its source is not available, as for decorated ones."""
    with suppress(OSError, TypeError, SyntaxError, IndexError):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(constructor)))).body
        return passed_on(node) if isinstance(node, ast.FunctionDef) else None
    return None


def _parameter(parameter: inspect.Parameter, names: Mapping[str, Any]) -> Parameter:
    """Describe an argument.

    Raises:
        ValueError: If records cannot store its default.
    """
    default = MISSING if parameter.default is parameter.empty else parameter.default
    try:
        same = ast.literal_eval(repr(default)) == default
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        same = False
    if not same:
        raise ValueError(
            f"the default of '{parameter.name}' is {shown(default)}, which records cannot store: use a number, a text, "
            "True, False, None, or a list, tuple or dictionary of these"
        )
    if parameter.annotation is parameter.empty:
        return Parameter(parameter.name, "Any", default)
    given = parameter.annotation
    annotation = given if isinstance(given, str) else inspect.formatannotation(given)
    return Parameter(parameter.name, annotation, default, dict(_aliases(annotation, names)))


def _aliases(annotation: str, names: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The definitions of the names in an annotation that are aliases of types."""
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
