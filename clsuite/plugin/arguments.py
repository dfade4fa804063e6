"""Checks arguments of a plugin against the annotations of its constructor, without importing the plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from clsuite.config.error_text import shown
from clsuite.config.spec import LARGEST_NUMBER
from clsuite.errors import UserError, did_you_mean, nearest
from clsuite.plugin.annotations import read_annotation, type_words
from clsuite.plugin.constructor_checks import refuse_arguments
from clsuite.plugin.defaults import fill_defaults
from clsuite.plugin.introspection import PluginSource
from clsuite.plugin.signature import MISSING, Parameter


def resolve_arguments(name: str, source: PluginSource, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the given arguments and fill in the defaults.

    Args:
        name: Name of the plugin, for messages.
        source: The declarations of the plugin.
        given: Arguments from the benchmark or the command line.

    Returns:
        All arguments of the constructor, including defaults that depend on another argument.

    Raises:
        UserError: If an argument is unknown, missing, of the wrong type, unused beside another one, or refused by the
            constructor.
    """
    known = {parameter.name: parameter for parameter in source.parameters}
    for argument in given:
        if argument not in known:
            raise did_you_mean(f"argument of plugin '{name}':", argument, known)
    values = {parameter.name: _value(name, source, parameter, given) for parameter in source.parameters}
    filled = fill_defaults(name, source.traits, **values)
    _check_size(name, source, filled)
    for constructor in source.constructors:
        given_it = {argument: value for argument, value in filled.items() if argument in constructor.names}
        refuse_arguments(constructor.text, constructor.line, source.traits, given_it)
    return filled


def _check_size(name: str, source: PluginSource, values: Mapping[str, Any]) -> None:
    """Check the size of a parameter-efficient module, whose default depends on its kind."""
    size, tables = values.get("size"), [table for by in source.traits.defaults_by.values() for table in by.values()]
    if any("size" in table for table in tables) and isinstance(size, int) and size < 1:
        raise UserError(f"plugin '{name}': size is {size}, but must be at least 1")


def _value(name: str, source: PluginSource, parameter: Parameter, given: Mapping[str, Any]) -> Any:
    value = given.get(parameter.name, parameter.default)
    if parameter.name not in given:
        if value == MISSING:
            raise UserError(
                f"plugin '{name}' needs the argument '{parameter.name}' ({parameter.annotation})", field=parameter.name
            )
        return value
    annotation = read_annotation(parameter.annotation, parameter.aliases)
    try:
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            what = f"argument '{parameter.name}' of plugin '{name}'"
            raise UserError(f"{what} is {shown(value)}, but must be at most {LARGEST_NUMBER}", field=parameter.name)
        return _adapter(annotation).validate_python(value)
    except ValidationError as error:
        expected = type_words(annotation) or parameter.aliases.get(parameter.annotation, parameter.annotation)
        words = [one for one in get_args(annotation) if isinstance(one, str)]
        near = nearest(value, words) if isinstance(value, str) else []
        hint = f". Did you mean '{near[0]}'?" if near else ""
        raise UserError(
            f"argument '{parameter.name}' of plugin '{name}' is {shown(value)}, but must be {expected}{hint}",
            field=parameter.name,
            suggestion=near[0] if near else None,
        ) from error


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    """A strict validator for a type; one that accepts everything if pydantic cannot validate the type."""
    try:
        return TypeAdapter(annotation, config=ConfigDict(strict=True))
    except (PydanticUserError, TypeError, ValueError):
        return TypeAdapter(Any)
