"""Checks the arguments of a plugin against its constructor's annotations, without importing the plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Optional, Union

from pydantic import ConfigDict, TypeAdapter, ValidationError

from clsuite.errors import UserError, did_you_mean
from clsuite.plugin.source import MISSING, Parameter, PluginSource
from clsuite.written.spec import LARGEST_NUMBER
from clsuite.written.words import shown

NAMES = {
    "Any": Any, "Literal": Literal, "Mapping": Mapping, "Optional": Optional, "Sequence": Sequence, "Union": Union,
}  # fmt: skip


def resolve_arguments(name: str, source: PluginSource, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the given arguments and fill in the defaults.

    Args:
        name: Name of the plugin, for messages.
        source: What the plugin declares.
        given: Arguments from the benchmark or the command line.

    Returns:
        Every argument of the constructor, with those defaults that follow from another argument.

    Raises:
        UserError: If an argument is unknown, missing, of the wrong type, or of no use beside another.
    """
    known = {parameter.name: parameter for parameter in source.parameters}
    for argument in given:
        if argument not in known:
            raise did_you_mean(f"argument of plugin '{name}':", argument, known)
    values = {parameter.name: _value(name, source, parameter, given) for parameter in source.parameters}
    return source.traits.filled(name, values)


def _value(name: str, source: PluginSource, parameter: Parameter, given: Mapping[str, Any]) -> Any:
    value = given.get(parameter.name, parameter.default)
    if parameter.name not in given:
        if value == MISSING:
            raise UserError(f"plugin '{name}' needs the argument '{parameter.name}' ({parameter.annotation})")
        return value
    try:
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            what = f"argument '{parameter.name}' of plugin '{name}'"
            raise UserError(f"{what} is {shown(value)}, but must be at most {LARGEST_NUMBER}")
        adapter = TypeAdapter(_annotation(source, parameter.annotation), config=ConfigDict(strict=True))
        return adapter.validate_python(value)
    except ValidationError as error:
        expected = source.aliases.get(parameter.annotation, parameter.annotation)
        raise UserError(
            f"argument '{parameter.name}' of plugin '{name}' is {shown(value)}, but must be {expected}"
        ) from error


def _annotation(source: PluginSource, text: str) -> Any:
    """The type that an annotation names; one that names a type of the plugin's own is not checked here."""
    scope: dict[str, Any] = dict(NAMES)
    try:
        for alias, value in source.aliases.items():
            if value.startswith("Literal["):
                scope[alias] = eval(value, {"__builtins__": {}}, NAMES)
        return eval(text, {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict,
                           "tuple": tuple, "None": None, "__builtins__": {}}, scope)  # fmt: skip
    except (NameError, TypeError, SyntaxError):
        return Any
