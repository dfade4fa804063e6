"""Completion of commands, options, benchmarks, plugins and recipes in shells, with shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clsuite.cli.commands.base import PATH, PATH_OR_NAME

SHELLS = ("bash", "zsh")


def completion(shell: str, parser: argparse.ArgumentParser) -> str:
    """The completion script for a shell, with the names that are known now.

    Args:
        shell: ``bash`` or ``zsh``.
        parser: The whole command line.
    """
    import shtab

    names = _names()
    for action in _actions(parser):
        _complete(action, names)
    script: str = shtab.complete(parser, shell=shell)
    return script


def _names() -> dict[str, Sequence[str]]:
    """Names for the arguments that take them."""
    from clsuite.plugin.catalog import catalog
    from clsuite.runner.spec import shipped_benchmarks

    plugins = [name for name in catalog() if name.replace("_", "").isalnum()]
    of_plugins = ("plugin", "methods", "method", "record_or_method")
    return {"benchmark": list(shipped_benchmarks()), **dict.fromkeys(of_plugins, plugins)}


def _complete(action: argparse.Action, names: Mapping[str, Sequence[str]]) -> None:
    """Set how an argument is completed: by its names and files, by files, or not at all."""
    import shtab

    if action.dest == "print_completion":
        action.choices = SHELLS
    elif action.dest in names:
        _mark(action, _names_or_files(f"_clsuite_{action.dest}", names[action.dest]))
    elif action.type in (PATH, PATH_OR_NAME):
        _mark(action, shtab.FILE)


def _mark(action: argparse.Action, how: Mapping[str, Any]) -> None:
    """Set an argument's completion where shtab reads it."""
    action.complete = how  # type: ignore[attr-defined]


def _names_or_files(function: str, names: Sequence[str]) -> dict[str, Any]:
    """Completion by names and by files, which each of these arguments accepts too, in shtab's form."""
    words = " ".join(names)
    functions = {
        "bash": f'{function}() {{ compgen -W "{words}" -- "$1"; compgen -f -- "$1"; }}',
        "zsh": f"{function}() {{ compadd -- {words}; _files }}",
    }
    return {"bash": function, "zsh": function, "preamble": functions}


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    """Every argument of a parser and of its subparsers."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in dict.fromkeys(action.choices.values()):
                yield from _actions(inner)
        yield action
