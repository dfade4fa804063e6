"""A user-defined class in a benchmark: ``{class: my_pkg.data:MyData, argument: value}``. Imports nothing of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from clsuite.config.error_text import shown
from clsuite.config.spec import Spec

CLASS, ARGS, SOURCE = "class", "args", "source"
GROUPS = {
    "dataset": "clsuite.datasets",
    "scenario": "clsuite.scenarios",
    "probe": "clsuite.probes",
    "optimizer": "clsuite.optimizers",
    "schedule": "clsuite.schedules",
}
"""The groups of entry points, by the part of a benchmark that they bring classes for."""


HIDDEN = ("own", "own_schedule")
"""Fields that nobody writes: in YAML and records their class stands in the place of what it is one for."""


class ClassUse(Spec):
    """A class with the arguments that a benchmark gives it.

    Attributes:
        name: ``package.module:Class``, ``file.py:Class``, or the name of an entry point.
        args: The arguments of its constructor.
        source: Hash of its source, as of a plugin's. A record has it; a benchmark may state it, and another source is
            then refused. Empty for PyTorch's own classes, which no key knows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(alias=CLASS)
    args: dict[str, Any] = Field(default_factory=dict)
    source: str | None = None


class MaybeOwn(Spec):
    """A part of a benchmark that may be a user-defined class.

    In YAML the keys of `KEPT` stay clsuite's, ``class``, ``args`` and ``source`` say which class it is, and every other
    key is an argument of its constructor; one that has the name of such a key is written below ``args``.

    Attributes:
        own: The class; None where the part is one of clsuite's.
    """

    KEPT: ClassVar[frozenset[str]] = frozenset()

    own: ClassUse | None = None

    @model_validator(mode="before")
    @classmethod
    def _takes_class(cls, value: Any) -> Any:
        return with_class(value, cls.KEPT) if isinstance(value, dict) and CLASS in value else value

    @model_serializer(mode="wrap")
    def _flat(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The class beside what is kept; nothing at all where there is none, so that other runs keep their keys."""
        content: dict[str, Any] = serialize(self)
        content.pop("own", None)
        content = self._without_defaults(content)
        if self.own is None:
            return content
        kept = {key: value for key, value in content.items() if key in self.KEPT}
        return {**kept, **class_entry(self.own)}

    def _without_defaults(self, content: dict[str, Any]) -> dict[str, Any]:
        """What a record holds of it; a part may leave out what is absent in older records."""
        return content


def with_class(value: Mapping[str, Any], kept: Collection[str]) -> dict[str, Any]:
    """A mapping with ``class`` in it as the fields of a `MaybeOwn`.

    Raises:
        ValueError: If the class is not named by a text, or its arguments are not a mapping.
    """
    name, args = value[CLASS], value.get(ARGS) or {}
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"class is {shown(name)}, but must be text such as my_package.module:MyClass")
    if not isinstance(args, Mapping):
        raise ValueError(f"args is {shown(args)}, but must be a mapping of arguments")
    stay = {key: one for key, one in value.items() if key in kept}
    more = {key: one for key, one in value.items() if key not in kept and key not in (CLASS, ARGS, SOURCE)}
    return {**stay, "own": {CLASS: name.strip(), ARGS: {**args, **more}, SOURCE: value.get(SOURCE)}}


def class_entry(own: ClassUse) -> dict[str, Any]:
    """A class as a record holds it."""
    return {CLASS: own.name, ARGS: own.args, SOURCE: own.source}


@cache
def offered(part: str) -> dict[str, tuple[str, str]]:
    """What installed distributions offer for a part of a benchmark: target and distribution, by name."""
    found = (
        sorted(entry_points(group=GROUPS[part]), key=lambda entry: (entry.name, entry.value)) if part in GROUPS else []
    )
    return {
        entry.name: (entry.value, f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution")
        for entry in reversed(found)
    }


def by_entry_point(value: Any, part: str, key: str, ours: Collection[str]) -> Any:
    """A part whose name is that of an entry point, and none of ours, as a class.

    Args:
        value: The value in the benchmark.
        part: The part.
        key: The key of the part's name.
        ours: The names that clsuite has itself.
    """
    if not isinstance(value, dict) or CLASS in value:
        return value
    name = value.get(key)
    if not isinstance(name, str) or name in ours or name not in offered(part):
        return value
    return {CLASS: name, **{other: one for other, one in value.items() if other != key}}
