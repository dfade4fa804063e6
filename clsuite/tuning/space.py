"""The search space as text: ``alpha=[0.1, 0.3], lr=loguniform(1e-5, 1e-2), epochs=int(1, 5)``."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from typing import Any

from clsuite.errors import UserError, shortened
from clsuite.runner.literals import read_literal
from clsuite.runner.methods import split_outside

NAME = re.compile(r"[A-Za-z_][\w.]*")
RANGES = {"uniform": (False, False), "loguniform": (True, False), "int": (False, True), "logint": (True, True)}
"""For each kind of range: whether it is logarithmic, and whether its values are whole."""


class _SpaceError(ValueError):
    """A mistake in a range or a list, whose message says what it is."""


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """A number between two bounds, both included."""

    low: float
    high: float
    log: bool
    whole: bool


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter: its name as written, and its possible values."""

    name: str
    values: Choice | Range


def parse_space(text: str) -> tuple[Dimension, ...]:
    """Parse a space.

    Raises:
        UserError: If it cannot be read; says which part of it.
    """
    dimensions = [_dimension(part) for part in split_outside(text, ",")]
    names = [dimension.name for dimension in dimensions]
    if not names:
        raise UserError("--space is empty: write for example 'alpha=[0.1, 0.3], lr=loguniform(1e-5, 1e-2)'")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--space has '{name}' twice")
    return tuple(dimensions)


def points(space: tuple[Dimension, ...]) -> int | None:
    """Number of points of a space; None where it has a range of real numbers."""
    sizes = []
    for dimension in space:
        values = dimension.values
        if isinstance(values, Range) and not values.whole:
            return None
        sizes.append(len(values.values) if isinstance(values, Choice) else int(values.high - values.low) + 1)
    return math.prod(sizes)


def _dimension(text: str) -> Dimension:
    name, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not NAME.fullmatch(name):
        raise UserError(
            f"cannot read '{shortened(text)}' in --space: write NAME=[value, ...] or NAME=loguniform(low, high)"
        )
    try:
        return Dimension(name, _values(ast.parse(values, mode="eval").body))
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        reason = str(error) if isinstance(error, _SpaceError) else ""
        fix = reason or f"write [value, ...], or one of {', '.join(RANGES)} with two numbers"
        raise UserError(f"cannot read the values of '{name}' in --space, '{shortened(values)}': {fix}") from error


def _values(node: ast.expr) -> Choice | Range:
    if isinstance(node, ast.List):
        values = read_literal(node)
        if not values:
            raise _SpaceError("it is an empty list")
        return Choice(tuple(values))
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords):
        raise ValueError
    log, whole = RANGES[node.func.id] if node.func.id in RANGES else _unknown(node.func.id)
    low, high = (_number(argument) for argument in node.args)
    if whole and not (float(low).is_integer() and float(high).is_integer()):
        raise _SpaceError("it needs whole bounds")
    if not low < high:
        raise _SpaceError("it needs a lower bound below the upper one")
    if log and low <= 0:
        raise _SpaceError("it is logarithmic, and needs a lower bound above zero")
    return Range(low, high, log, whole)


def _number(node: ast.expr) -> float:
    value = ast.literal_eval(node)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return value


def _unknown(name: str) -> tuple[bool, bool]:
    raise _SpaceError(f"it has '{name}', which is not one of {', '.join(RANGES)}")
