"""`clsuite show METHOD`: what a plugin does, its arguments, and how to derive from it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from clsuite.cli.console import make_console
from clsuite.plugin.annotations import read_annotation, type_words
from clsuite.plugin.catalog import catalog, find_plugin
from clsuite.plugin.inheritance import find_class
from clsuite.plugin.introspection import PluginSource
from clsuite.plugin.loading import is_file, is_importable
from clsuite.plugin.scopes import scope_of
from clsuite.plugin.signature import MISSING, Parameter
from clsuite.report.format import shown

ARGUMENT = re.compile(r"^    (\w+): ((?:.*\n?)(?:^ {8}.*\n?)*)", re.MULTILINE)
"""An argument in the docstring of a class, with its description."""


def is_plugin(text: str) -> bool:
    """Whether a text names a plugin: a registered one, a file, or ``package.module:Class``."""
    return text in catalog() or is_file(text) or is_importable(text)


def print_plugin(name: str) -> None:
    """Print a plugin: its documentation, arguments, hooks and where its class is.

    Raises:
        UserError: If there is no such plugin, or it is broken.
    """
    info, source = find_plugin(name, (Path(),))
    place, _, class_name = info.target.rpartition(":")
    console = make_console()
    console.print(f"[bold]{shown(info.name)}[/bold] from {shown(info.distribution)}", markup=True)
    about, _, arguments = _documentation(source, class_name).partition("\nArgs:\n")
    for paragraph in filter(None, map(_on_one_line, re.split(r"\n\n|\n(?=\* )", about))):
        console.print(paragraph, soft_wrap=True)
    if source.traits.paper:
        console.print(f"paper: {source.traits.paper}", soft_wrap=True)
    described = {name: _on_one_line(text) for name, text in ARGUMENT.findall(arguments)}
    for parameter in source.parameters:
        description = described.get(parameter.name, "")
        console.print(f"argument {_argument(parameter)}{description and f': {description}'}", soft_wrap=True)
    console.print(f"hooks: {', '.join(sorted(source.hooks)) or 'none'}", soft_wrap=True)
    where = f"file: {place}" if is_file(place) else f"to derive from it: from {place} import {class_name}"
    if source.alone is not None and not is_file(place):
        where = f"a strategy of {source.alone.library}'s, which cannot be combined with plugins"
    console.print(where, soft_wrap=True)


def _documentation(source: PluginSource, class_name: str) -> str:
    """The docstring of the class; only its summary if the class is not in the text of its file."""
    node = find_class(scope_of(source.text, source.home), class_name)
    return (ast.get_docstring(node) if node else None) or source.summary


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _argument(parameter: Parameter) -> str:
    kind = type_words(read_annotation(parameter.annotation, parameter.aliases)) or parameter.annotation
    default = "required" if parameter.default is MISSING else f"default {_value(parameter.default)}"
    return f"{parameter.name}, {kind} ({default})"


def _value(value: Any) -> str:
    """A default as in a benchmark's file."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
