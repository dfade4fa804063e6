"""Grids of methods: a list as an argument, or as a field of the training, stands for one method per value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from clsuite.errors import UserError, shortened
from clsuite.plugin.loading import short_name
from clsuite.runner.methods import MethodSpec, PluginUse, write_method
from clsuite.runner.training import lists_in, merged, nested

LARGEST = 1000
"""Largest number of points of a grid; more are probably a missing bracket."""


def expand_grid(name: str, method: MethodSpec, written: bool) -> dict[str, MethodSpec]:
    """The methods that a method with lists stands for, by their names in tables.

    A list that is itself meant as the argument is written in double brackets: ``[[1, 2]]`` is the one value ``[1, 2]``.
    A list in a field of the training that takes one value is a grid: ``{"optimizer": {"lr": [0.001, 0.01]}}``.

    Args:
        name: Name of the method.
        method: The method.
        written: Whether `name` is the method as written on the command line, and not a name in a benchmark.

    Raises:
        UserError: If a list is empty, or the grid is very large.
    """
    axes: list[tuple[int | None, str, list[Any]]] = [
        (position, argument, values)
        for position, use in enumerate(method.plugins)
        for argument, values in use.args.items()
        if isinstance(values, list)
    ]
    axes += [(None, key, values) for key, values in lists_in(method.training).items()]
    for position, argument, values in axes:
        if not values:
            raise UserError(_empty(method, position, argument))
    number = math.prod(len(values) for _, _, values in axes)
    if number > LARGEST:
        raise UserError(f"the grid of '{shortened(name)}' has {number:,} points, but must have at most {LARGEST:,}")
    found: dict[str, MethodSpec] = {}
    for point in itertools.product(*(axis[2] for axis in axes)):
        chosen = [(axis[0], axis[1], value) for axis, value in zip(axes, point, strict=True)]
        of_plugins = {(where, argument): value for where, argument, value in chosen if where is not None}
        of_training = {argument: value for where, argument, value in chosen if where is None}
        expanded = _at(method, of_plugins, of_training)
        label = _label(name, expanded, of_plugins, written)
        found[" ".join([label, *(f"{key}={value}" for key, value in of_training.items())])] = expanded
    return found


def _empty(method: MethodSpec, position: int | None, argument: str) -> str:
    if position is None:
        return f"training.{argument} is an empty grid: give it a value"
    plugin = method.plugins[position].name
    return f"argument '{argument}' of plugin '{plugin}' is an empty grid: write an empty list as [[]]"


def _at(method: MethodSpec, of_plugins: Mapping[tuple[int, str], Any], of_training: Mapping[str, Any]) -> MethodSpec:
    """The method at one point of its grid."""
    uses = tuple(_with(use, position, of_plugins) for position, use in enumerate(method.plugins))
    training = method.training
    for key, value in of_training.items():
        training = merged(training, nested(key.split("."), value))
    return method.model_copy(update={"plugins": uses, "training": training})


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
