"""The arguments of a constructor, and those that it passes on to its base with ``*args`` and ``**kwargs``."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clsuite.plugin.inheritance import calls_of, dotted_name

MISSING = "<required>"


@dataclass(frozen=True)
class Parameter:
    """A constructor argument.

    Attributes:
        name: Its name.
        annotation: The text of its annotation, ``Any`` if it has none.
        default: Its default, `MISSING` if it has none.
        aliases: The definitions of the aliases of types in the annotation.
    """

    name: str
    annotation: str
    default: Any
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Constructor:
    """A constructor that checks arguments.

    Attributes:
        text: The text of its module.
        line: Its first line.
        names: The arguments that it receives unchanged.
    """

    text: str = field(repr=False)
    line: int
    names: frozenset[str]


@dataclass(frozen=True)
class PassedOn:
    """The other arguments of a call that passes ``**kwargs`` on to the constructor of a base.

    Attributes:
        base: The text of the base's name; empty for ``super()``.
        positional: Number of positional arguments.
        names: Names of keyword arguments; all other arguments of the base can be given by the user.
    """

    base: str
    positional: int
    names: frozenset[str]

    def left_of(self, inherited: Sequence[Parameter], own: Sequence[str]) -> list[Parameter]:
        """Return the arguments of the base that the user can give.

        Args:
            inherited: The arguments of the base.
            own: Names of the constructor's own arguments.
        """
        taken = {*self.names, *own}
        return [parameter for parameter in inherited[self.positional :] if parameter.name not in taken]


def passed_on(constructor: ast.FunctionDef) -> PassedOn | None:
    """Find the call in a constructor that passes its ``**kwargs`` on; None if there is none.

    Raises:
        ValueError: If there are several, or ``**kwargs`` is used otherwise: a record could not state the arguments.
    """
    kwargs = constructor.args.kwarg
    if kwargs is None:
        return None
    calls = [call for call in calls_of(constructor) if dotted_name(call.func).endswith(".__init__") or _is_super(call)]
    passing = [call for call in calls if _gives(call, kwargs.arg)]
    if not passing:
        return None
    where = f"line {constructor.lineno}: the constructor"
    uses = [node for node in ast.walk(constructor) if isinstance(node, ast.Name) and node.id == kwargs.arg]
    if len(passing) > 1 or len(uses) > 1:
        raise ValueError(
            f"{where} does not only pass **{kwargs.arg} on once, so its arguments are not known: "
            "name the arguments that it uses"
        )
    call, base = passing[0], dotted_name(passing[0].func).removesuffix(".__init__")
    given = [one for one in call.args if not isinstance(one, ast.Starred)]
    own_self = 0 if _is_super(call) else 1
    return PassedOn(
        base="" if _is_super(call) else base,
        positional=max(0, len(given) - own_self),
        names=frozenset(word.arg for word in call.keywords if word.arg is not None),
    )


def _is_super(call: ast.Call) -> bool:
    """Whether a call is ``super().__init__(...)``."""
    called = call.func
    if not isinstance(called, ast.Attribute) or called.attr != "__init__":
        return False
    return isinstance(called.value, ast.Call) and dotted_name(called.value.func) == "super"


def _gives(call: ast.Call, name: str) -> bool:
    return any(word.arg is None and dotted_name(word.value) == name for word in call.keywords)


def own_arguments(function: ast.FunctionDef, skip: int = 1) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """The named arguments of a constructor, except for the first, each with its default.

    Args:
        function: The constructor, or another function.
        skip: Number of first arguments to leave out.
    """
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    yield from list(zip(plain, defaults, strict=True))[skip:]
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
