"""A user-defined class in a benchmark: ``{class: my_pkg.data:MyData, argument: value}``. It is not imported here."""

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
"""The group of entry points for each part of a benchmark."""


HIDDEN = ("own", "own_schedule")
"""Internal fields: YAML and records have the class instead of the part that it implements."""


class ClassUse(Spec):
    """A class with the arguments that a benchmark gives it.

    Attributes:
        name: ``package.module:Class``, ``file.py:Class``, or the name of an entry point.
        args: The arguments of its constructor.
        source: Hash of its source, as for a plugin. Records have it. A benchmark may state it; a class with another
            source is then refused. Empty for PyTorch's own classes, whose source is not part of any key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(alias=CLASS)
    args: dict[str, Any] = Field(default_factory=dict)
    source: str | None = None


class MaybeOwn(Spec):
    """A part of a benchmark that may be a user-defined class.

    In YAML, the keys in `KEPT` keep their usual meaning, ``class``, ``args`` and ``source`` define the class, and every
    other key is an argument of its constructor. An argument with the name of such a key is written below ``args``.

    Attributes:
        own: The class; None if the part is one of clsuite's.
    """

    KEPT: ClassVar[frozenset[str]] = frozenset()

    own: ClassUse | None = None

    @model_validator(mode="before")
    @classmethod
    def _takes_class(cls, value: Any) -> Any:
        return with_class(value, cls.KEPT) if isinstance(value, dict) and CLASS in value else value

    @model_serializer(mode="wrap")
    def _flat(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Put the class beside the kept keys; without a class nothing is added, so that other runs keep their keys."""
        content: dict[str, Any] = serialize(self)
        content.pop("own", None)
        content = self._without_defaults(content)
        if self.own is None:
            return content
        kept = {key: value for key, value in content.items() if key in self.KEPT}
        return {**kept, **class_entry(self.own)}

    def _without_defaults(self, content: dict[str, Any]) -> dict[str, Any]:
        """The content for a record; subclasses omit what older records do not have."""
        return content


def with_class(value: Mapping[str, Any], kept: Collection[str]) -> dict[str, Any]:
    """A mapping with the key ``class`` as the fields of a `MaybeOwn`.

    Raises:
        ValueError: If the name of the class is not a text, or its arguments are not a mapping.
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
    """A class as records store it."""
    return {CLASS: own.name, ARGS: own.args, SOURCE: own.source}


@cache
def offered(part: str) -> dict[str, tuple[str, str]]:
    """The entry points of installed distributions for a part of a benchmark: target and distribution, by name."""
    found = (
        sorted(entry_points(group=GROUPS[part]), key=lambda entry: (entry.name, entry.value)) if part in GROUPS else []
    )
    return {
        entry.name: (entry.value, f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution")
        for entry in reversed(found)
    }


def by_entry_point(value: Any, part: str, key: str, ours: Collection[str]) -> Any:
    """A part as a class, if its name is that of an entry point and not one of clsuite's.

    Args:
        value: The value in the benchmark.
        part: The part.
        key: The key of the part's name.
        ours: The names that clsuite itself has.
    """
    if not isinstance(value, dict) or CLASS in value:
        return value
    name = value.get(key)
    if not isinstance(name, str) or name in ours or name not in offered(part):
        return value
    return {CLASS: name, **{other: one for other, one in value.items() if other != key}}
