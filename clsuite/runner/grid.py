"""Grids of methods: an argument that is a list stands for one method per value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from clsuite.errors import UserError, shortened
from clsuite.plugin.loading import short_name
from clsuite.runner.methods import MethodSpec, PluginUse, write_method

LARGEST = 1000
"""Points of a grid: beyond it a forgotten bracket is likelier than a wish."""


def expand_grid(name: str, method: MethodSpec, written: bool) -> dict[str, MethodSpec]:
    """The methods that a method with lists as arguments stands for, by the name that tables show.

    A list that is itself meant as the argument is written in double brackets: ``[[1, 2]]`` is the one value ``[1, 2]``.

    Args:
        name: Name of the method.
        method: The method.
        written: Whether `name` is the method as written on the command line, and no name that a benchmark gives.

    Raises:
        UserError: If a list is empty, or the grid is very large.
    """
    axes = [
        (position, argument, values)
        for position, use in enumerate(method.plugins)
        for argument, values in use.args.items()
        if isinstance(values, list)
    ]
    for position, argument, values in axes:
        if not values:
            plugin = method.plugins[position].name
            raise UserError(f"argument '{argument}' of plugin '{plugin}' is an empty grid: write an empty list as [[]]")
    number = math.prod(len(values) for _, _, values in axes)
    if number > LARGEST:
        raise UserError(f"the grid of '{shortened(name)}' has {number:,} points, but must have at most {LARGEST:,}")
    found: dict[str, MethodSpec] = {}
    for point in itertools.product(*(axis[2] for axis in axes)):
        chosen = {(axis[0], axis[1]): value for axis, value in zip(axes, point, strict=True)}
        uses = tuple(_with(use, position, chosen) for position, use in enumerate(method.plugins))
        expanded = method.model_copy(update={"plugins": uses})
        found[_label(name, expanded, chosen, written)] = expanded
    return found


def _with(use: PluginUse, position: int, chosen: Mapping[tuple[int, str], Any]) -> PluginUse:
    changes = {argument: value for (where, argument), value in chosen.items() if where == position}
    return use.model_copy(update={"args": {**use.args, **changes}}) if changes else use


def _label(name: str, method: MethodSpec, chosen: Mapping[tuple[int, str], Any], written: bool) -> str:
    if written:
        as_named = all(short_name(use.name) == use.name for use in method.plugins)
        return name if as_named and not chosen else write_method(method)
    several = len(method.plugins) > 1
    words = [
        f"{short_name(method.plugins[where].name)}.{argument}={value!r}" if several else f"{argument}={value!r}"
        for (where, argument), value in chosen.items()
    ]
    return f"{name}({', '.join(words)})" if words else name
