"""Methods as written by users: ``replay``, ``replay(capacity=100)``, ``lwf+replay``."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field, model_validator

from clsuite.config.error_text import shown
from clsuite.config.spec import Spec
from clsuite.errors import UserError, shortened
from clsuite.plugin.loading import short_name
from clsuite.runner.literals import read_literal

PLUGIN = re.compile(
    r"""(?:(?P<quote>["'])(?P<quoted>[^"']+)(?P=quote)|(?P<name>[\w./\\:~-]+?))\s*(?P<args>\(.*\))?""", re.DOTALL
)


FORMS = "replay, replay(capacity=100) or {replay: {capacity: 100}}"


class MethodError(UserError, ValueError):
    """A method that cannot be read; since it is a `ValueError`, it gets its line in a YAML file."""


class PluginUse(Spec):
    """A plugin with the arguments that a method gives it.

    In YAML: ``replay``, ``replay(capacity=100)`` or ``{replay: {capacity: 100}}``.

    Attributes:
        name: A registered name (``clsuite list plugins``), ``package.module:Class``, or a file ``./my_method.py``.
        args: Arguments of its constructor by name; a list where one value is expected is a grid.
    """

    name: str
    args: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        if isinstance(value, str):
            return parse_plugin(value)
        if isinstance(value, dict) and len(value) == 1 and not set(value) & {"name", "args"}:
            name, args = next(iter(value.items()))
            if args is not None and not isinstance(args, dict):
                raise MethodError(
                    f"the arguments of '{name}' must be a mapping, such as {{{name}: {{argument: value}}}}"
                )
            return {"name": str(name), "args": args or {}}
        if isinstance(value, dict | PluginUse):
            return value
        raise MethodError(f"a plugin is written as {FORMS}, not {shown(value)}")


class MethodSpec(Spec):
    """A method: its plugins in order, and what it changes in the benchmark's training.

    In YAML: a plugin, a list of plugins, or ``{plugins: [...], training: {...}}``.

    Attributes:
        plugins: Its plugins, in the order in which their hooks are called.
        training: Fields of the benchmark's training that this method overrides; a list where one value is expected is a
            grid.
    """

    plugins: tuple[PluginUse, ...] = Field(min_length=1)
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _forms(cls, value: Any) -> Any:
        if value is None or value == []:
            raise MethodError(f"it is empty: name its plugin, as {FORMS}")
        if isinstance(value, dict) and "plugins" in value:
            return value
        if isinstance(value, str):
            return {"plugins": [parse_plugin(part) for part in split_outside(value, "+")]}
        return {"plugins": value if isinstance(value, list) else [value]}


def parse_method(text: str) -> MethodSpec:
    """Parse plugins joined by ``+``, as on the command line.

    Raises:
        MethodError: If the text is not of that form.
    """
    parts = split_outside(text, "+")
    if not parts:
        raise _unreadable(text)
    return MethodSpec(plugins=tuple(PluginUse.model_validate(parse_plugin(part)) for part in parts))


def parse_named(text: str) -> tuple[str, str]:
    """Split ``NAME=METHOD``, as on the command line; the name is empty if there is only a method.

    A name with special characters must be in quotation marks.

    Raises:
        MethodError: If one of the two is missing.
    """
    at = next(places_outside(text, "="), None)
    if at is None:
        return "", text
    name, method = text[:at], text[at + 1 :]
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"":
        name = name[1:-1].strip()
    if not name or not method.strip():
        raise MethodError(f"cannot read the method '{text}': write NAME=METHOD, such as er-ace=./er_ace.py")
    return name, method.strip()


def parse_plugin(text: str) -> dict[str, Any]:
    """Parse ``name`` or ``name(argument=literal, ...)``; a name may be ``./file.py`` or ``package.module:Class`` too.

    A path with special characters (``+``, a comma, a bracket, a blank) must be in quotation marks. A value that is one
    word, or words joined by ``+``, needs none: ``pet(kind=lora)``.

    Raises:
        MethodError: If the text is of neither form.
    """
    found = PLUGIN.fullmatch(text.strip())
    name = found["quoted"] or found["name"] if found else ""
    if found and found["args"] is None:
        return {"name": name, "args": {}}
    try:
        call = ast.parse(f"_{found['args']}", mode="eval").body if found else None
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args):
            raise ValueError
        args = {str(word.arg): read_literal(word.value) for word in call.keywords if word.arg}
        if len(args) < len(call.keywords):
            raise ValueError
        return {"name": name, "args": args}
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(text) from error


def _unreadable(text: str) -> MethodError:
    fix = "write NAME or NAME(argument=value), joined by '+'"
    if re.search(r"[./\\\"']", text.partition("(")[0]):
        fix += "; a path with blanks, '+' or ',' in it must be in quotation marks of its own"
    return MethodError(f"cannot read the method '{shortened(text)}': {fix}")


def write_plugin(use: PluginUse) -> str:
    """A plugin as written on the command line; a file without its folders."""
    name = short_name(use.name)
    name = name if PLUGIN.fullmatch(name) else repr(name)
    words = ", ".join(f"{argument}={value!r}" for argument, value in use.args.items())
    return f"{name}({words})" if words else name


def write_method(method: MethodSpec) -> str:
    """A method as written on the command line: its plugins, joined by ``+``."""
    return "+".join(write_plugin(use) for use in method.plugins)


def split_outside(text: str, separator: str) -> list[str]:
    """Split at a separator outside brackets and quotation marks."""
    ends = [-1, *places_outside(text, separator), len(text)]
    parts = (text[start + 1 : end] for start, end in itertools.pairwise(ends))
    return [part.strip() for part in parts if part.strip()]


def places_outside(text: str, separator: str) -> Iterator[int]:
    """Positions of a separator outside brackets and quotation marks."""
    depth, quote, escaped = 0, "", False
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote and not escaped else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
        escaped = character == "\\" and not escaped
        if character == separator and depth == 0 and not quote:
            yield at
