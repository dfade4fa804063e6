"""The pages of the API, for mkdocstrings: each public name, by the module that it is imported from."""

from __future__ import annotations

from collections.abc import Iterable

from clsuite.api.surface import INTERNAL, PUBLIC

PYTHON = ("clsuite", "clsuite.data", "clsuite.records", "clsuite.metrics")
"""Modules for scripts and notebooks; all others are for authors of methods."""
SCRIPTS = """\
# Python API

What scripts and notebooks use. Everything here keeps its signature within a version.
"""
AUTHORS = """\
# Plugin API

What a method uses. [Writing a method](../writing-a-method.md) says how a plugin lives, when each hook is called and
what it may not do; here is every signature. Names keep theirs within a version of the plugin API.
"""


def scripts() -> str:
    """The page for scripts and notebooks."""
    return _page(SCRIPTS, [module for module in PUBLIC if module in PYTHON])


def authors() -> str:
    """The page for authors of methods."""
    return _page(AUTHORS, [module for module in PUBLIC if module not in PYTHON])


def _page(heading: str, modules: Iterable[str]) -> str:
    parts = [heading]
    for module in modules:
        parts.append(f"## `{module}` {{ #module-{module.replace('.', '-')} }}")
        parts += [_directive(module, name) for name in PUBLIC[module]]
    return "\n\n".join(parts) + "\n"


def _directive(module: str, name: str) -> str:
    """What mkdocstrings replaces by a name's signature and docstring; members that the framework calls stay out."""
    hidden = INTERNAL.get(name, "").split()
    filters = [f'"!^{member}$"' for member in hidden]
    options = f'    options:\n      filters: ["!^_", {", ".join(filters)}]' if filters else ""
    return f"::: {module}.{name}\n{options}".rstrip()
