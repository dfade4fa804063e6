"""The arguments of a constructor, and those of its base that it passes on with ``*args`` and ``**kwargs``."""

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
        annotation: Its annotation as it is written, ``Any`` where it has none.
        default: Its default, `MISSING` where it has none.
        aliases: What the names in the annotation stand for, where they are names that files give to types.
    """

    name: str
    annotation: str
    default: Any
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Constructor:
    """A constructor that judges arguments.

    Attributes:
        text: The text of its module.
        line: The line in which it begins.
        names: The arguments that it gets as they are given.
    """

    text: str = field(repr=False)
    line: int
    names: frozenset[str]


@dataclass(frozen=True)
class PassedOn:
    """What a constructor that passes its ``**kwargs`` on to that of its base gives to it beside them.

    Attributes:
        base: The base as it is written; empty for ``super()``.
        positional: Arguments that it gives by their place.
        names: Those that it gives by their name; all others of the base can be given.
    """

    base: str
    positional: int
    names: frozenset[str]

    def left_of(self, inherited: Sequence[Parameter], own: Sequence[str]) -> list[Parameter]:
        """The arguments of the base that can still be given.

        Args:
            inherited: The arguments of the base.
            own: Names of the arguments that the constructor has itself.
        """
        taken = {*self.names, *own}
        return [parameter for parameter in inherited[self.positional :] if parameter.name not in taken]


def passed_on(constructor: ast.FunctionDef) -> PassedOn | None:
    """What a constructor gives to that of its base beside its ``**kwargs``; None where it passes none on.

    Raises:
        ValueError: If it gives them to several, or changes ``**kwargs`` first: no record could say what ran.
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
            f"{where} uses **{kwargs.arg} otherwise than to pass it on once, so that its arguments are not known: "
            "name those that it looks at"
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
    """Whether a call is one of ``super().__init__``."""
    called = call.func
    if not isinstance(called, ast.Attribute) or called.attr != "__init__":
        return False
    return isinstance(called.value, ast.Call) and dotted_name(called.value.func) == "super"


def _gives(call: ast.Call, name: str) -> bool:
    return any(word.arg is None and dotted_name(word.value) == name for word in call.keywords)


def own_arguments(constructor: ast.FunctionDef) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """The arguments that a constructor names, except for the first, each with its default."""
    arguments = constructor.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    yield from list(zip(plain, defaults, strict=True))[1:]
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
