"""Types of the fields of a benchmark's file, in words."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo

WORDS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "`true` or `false`",
    Any: "anything",
    type(None): "",
}
BOUNDS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


def anchor(model: type[BaseModel]) -> str:
    """The anchor of a model's section."""
    return model.__name__.lower()


def type_text(annotation: Any) -> str:
    """An annotation in words; a model links to its section."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(filter(None, map(type_text, arguments))))
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin is tuple:
        return f"list of {type_text(arguments[0])}" if arguments[-1] is ... else f"{len(arguments)} numbers"
    if origin is dict:
        return f"mapping of a name to {type_text(arguments[1])}"
    if hasattr(annotation, "__metadata__"):
        return type_text(arguments[0]) + bounds(arguments[1:])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{anchor(annotation)})"
    return WORDS.get(annotation, f"`{annotation}`")


def bounds(metadata: Any) -> str:
    """The limits of a number, such as `, ≥ 1`; empty where there are none."""
    limits = [part for one in metadata for part in getattr(one, "metadata", [one]) if type(part) in BOUNDS]
    written = [f"{sign} {getattr(one, name):,g}" for one in limits for sign, name in [BOUNDS[type(one)]]]
    return f" ({', '.join(written)})" if written else ""


def default_text(field: FieldInfo) -> str:
    """A field's default as a benchmark's file would have it."""
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None or value in ((), {}, ""):
        return "none"
    written = str(list(value)) if isinstance(value, tuple) else str(value)
    return f"`{written.lower() if isinstance(value, bool) else written}`"


def models_inside(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names, in its order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        root = annotation.model_fields.get("root") if issubclass(annotation, RootModel) else None
        return [annotation, *(models_inside(root.annotation) if root else [])]
    return [model for argument in get_args(annotation) for model in models_inside(argument)]
