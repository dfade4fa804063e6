"""A page for each method: its paper, where ours differs, its arguments and traits, and its results."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

from clsuite.board.papers import linked
from clsuite.plugin.annotations import read_annotation, type_words
from clsuite.plugin.catalog import catalog, is_ours
from clsuite.plugin.hooks import EFFECTS
from clsuite.plugin.introspection import PluginInfo, PluginSource
from clsuite.plugin.signature import MISSING, Parameter
from clsuite.plugin.traits import Traits
from clsuite_docs.board import AVERAGE, FORGETTING, NONE, PRIMARY, rows_of
from clsuite_docs.docstrings import cell, code, parse, table

BADGES = "*stale*: sources that made the row have changed since; it is not comparable with current rows."


def names() -> list[str]:
    """The names of all shipped methods."""
    return [name for name, info in catalog().items() if is_ours(info.target) and info.source]


def pages(repository: str) -> dict[str, str]:
    """All pages by name.

    Args:
        repository: The address of the repository, for the links to sources.
    """
    return {name: page(name, repository) for name in names()}


def page(name: str, repository: str) -> str:
    """The page of one method."""
    source = _source(name)
    described = parse(docstring(catalog()[name]))
    module = catalog()[name].target.partition(":")[0].rpartition(".")[2]
    parts = [
        f"# {name}",
        described.text,
        f"**Paper:** {papers(source.traits) or 'none'}. "
        f"**Source:** [plugins/{module}.py]({repository}/blob/main/plugins/{module}.py).",
        "## Arguments",
        arguments(source, described.members),
        f'```sh\nclsuite bench quickstart --methods "{example(name, source)}"\n```',
        "## Deriving from it",
        deriving(name, source),
        "## What it needs and keeps",
        traits(source),
        "## Results",
        standing(name),
    ]
    return "\n\n".join(parts) + "\n"


def deriving(name: str, source: PluginSource) -> str:
    """How a user's method derives from it, and the hooks that are there to override."""
    module, _, class_name = catalog()[name].target.partition(":")
    hooks = ", ".join(f"`{hook}`" for hook in sorted(source.hooks))
    return (
        f"```python\nfrom {module} import {class_name}\n\n\nclass Mine({class_name}): ...\n```\n\n"
        f"in a file of its own has all its arguments, and what it declares. Hooks that it has: {hooks or 'none'}."
    )


def docstring(info: PluginInfo) -> str:
    """The docstring of a plugin's class."""
    assert info.source is not None
    classes = (node for node in ast.parse(info.source.text).body if isinstance(node, ast.ClassDef))
    name = info.target.rpartition(":")[2]
    return next(ast.get_docstring(node) or "" for node in classes if node.name == name)


def papers(declared: Traits) -> str:
    """The papers that a plugin names, each with its link."""
    links = linked(declared.paper)
    return ", ".join(f"[{name}]({address})" if address else name for name, address in links.items()) or declared.paper


def stores(source: PluginSource) -> str:
    """What a plugin keeps from task to task."""
    return ", ".join(source.traits.memory) or "nothing"


def arguments(source: PluginSource, about: Mapping[str, str]) -> str:
    """The table of the constructor's arguments."""
    if not source.parameters:
        return "It has none."
    rows = [(f"`{one.name}`", _type(one, source), _default(one), about.get(one.name, "")) for one in source.parameters]
    return table(("argument", "type", "default", "what it is"), rows)


def example(name: str, source: PluginSource) -> str:
    """The method as the command line takes it, with its first argument at its default."""
    first = next((one for one in source.parameters if isinstance(one.default, int | float)), None)
    return f"{name}({first.name}={first.default})" if first else name


def traits(source: PluginSource) -> str:
    """What a plugin declares, other than by default."""
    plain = Traits()
    declared = {one.name: getattr(source.traits, one.name) for one in fields(Traits)}
    rows = [
        (f"`{name}`", _trait(value))
        for name, value in declared.items()
        if value != getattr(plain, name) and name not in ("paper", "defaults_by")
    ]
    shown = table(("trait", "value"), rows) if rows else "It declares nothing beyond the defaults."
    meant = [f"Effect `{one}`: {EFFECTS[one]}." for one in source.traits.effects]
    chosen = [_chosen(name, tables) for name, tables in source.traits.defaults_by.items()]
    return "\n\n".join([shown, *meant, *chosen])


def standing(name: str) -> str:
    """Every row of the boards that the plugin is part of."""
    rows = [
        (board.name, cell(row.method), row.rank, row.text(PRIMARY), row.text(AVERAGE), row.text(FORGETTING), badge)
        for board, row in rows_of(name)
        for badge in [str(row.content["badge"])]
    ]
    if not rows:
        return "No board has a row of it."
    headings = ("board", "row", "rank", "final accuracy", "avg. incremental accuracy", "forgetting", "status")
    note = f"\n\n{BADGES}" if any(row[-1] == "stale" for row in rows) else ""
    return f"In percent, mean ± half the 95 % interval over seeds.\n\n{table(headings, rows, 'llrrrrl')}{note}"


def _source(name: str) -> PluginSource:
    source = catalog()[name].source
    assert source is not None
    return source


def _type(parameter: Parameter, source: PluginSource) -> str:
    known = {**_imported_aliases(source.text), **parameter.aliases}
    words = type_words(read_annotation(parameter.annotation, known))
    return words.removeprefix("a ") if words else code(known.get(parameter.annotation, parameter.annotation))


def _imported_aliases(text: str) -> dict[str, str]:
    """Names of types that a file imports from clsuite, such as ``PetKind``, with what they stand for."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clsuite"):
            module = importlib.import_module(node.module or "")
            named = {alias.name: getattr(module, alias.name, None) for alias in node.names}
            found |= {name: literal_text(kind) for name, kind in named.items() if get_origin(kind) is Literal}
    return found


def literal_text(kind: Any) -> str:
    """A type of fixed words as it is written."""
    return f"Literal[{', '.join(map(repr, get_args(kind)))}]"


def _default(parameter: Parameter) -> str:
    return "**required**" if parameter.default is MISSING else f"`{parameter.default!r}`"


def _trait(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"`{name}`: {cell(str(one))}" for name, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(f"`{one}`" for one in value) if isinstance(value, tuple) else f"`{value}`"


def _chosen(name: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    known = list(dict.fromkeys(key for one in tables.values() for key in one))
    rows = [
        (f"`{kind}`", *(f"`{one[key]!r}`" if key in one else NONE for key in known)) for kind, one in tables.items()
    ]
    return f"Defaults that `{name}` chooses:\n\n{table((f'`{name}`', *(f'`{key}`' for key in known)), rows)}"
