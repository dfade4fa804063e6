"""The page with every field of a benchmark's file, from the models that check it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from pydantic import BaseModel, RootModel

from clsuite.data.augment_spec import PRESETS
from clsuite.runner.spec import BenchmarkSpec
from clsuite_docs.docstrings import cell, parse, table
from clsuite_docs.types import anchor, bounds, default_text, models_inside, type_text

HEADING = """\
# Every field of a benchmark's file

This page is made from the models that check the file. A field that is not listed is an error, reported with its
line and the nearest known name. [How to write one](../how-to/own-data.md) has a whole example.
"""


def page() -> str:
    """The whole page."""
    return "\n\n".join([HEADING, *(section(model) for model in models()), presets()]) + "\n"


def models() -> list[type[BaseModel]]:
    """All models, from the file's own inwards, each once."""
    found: list[type[BaseModel]] = [BenchmarkSpec]
    for model in found:  # grows while it is walked
        inside = [one for field in model.model_fields.values() for one in models_inside(_whole(field))]
        found += [one for one in dict.fromkeys(inside) if one not in found]
    return found


def section(model: type[BaseModel]) -> str:
    """A model: its heading, what it is, and a table of its fields."""
    heading = f"## {title(model)} {{ #{anchor(model)} }}"
    if issubclass(model, RootModel):
        kinds = [one for one in models_inside(model)[1:]]
        links = "\n".join(f"- [`{one.model_fields['kind'].default}`](#{anchor(one)})" for one in kinds)
        return f"{heading}\n\n{about(model)}\n\nThe kinds:\n\n{links}"
    rows = [row for name in model.model_fields if (row := _row(model, name))]
    fields = table(("field", "type", "default", "what it is"), rows) if rows else "It has no fields."
    return f"{heading}\n\n{about(model)}\n\n{fields}"


def title(model: type[BaseModel]) -> str:
    """A model's heading: for a kind of stream, probe or augmentation as the file writes it."""
    kind = model.model_fields.get("kind")
    return f"`kind: {kind.default}`" if kind is not None else model.__name__


def about(model: type[BaseModel]) -> str:
    """What a model is, from its docstring."""
    return parse(inspect.getdoc(model) or "").text


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """What is said of each field, in the docstrings of the model and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        found |= parse(inspect.cleandoc(base.__dict__.get("__doc__") or "")).members
    return found


def presets() -> str:
    """The named augmentations."""
    rows = [(f"`{name}`", cell(words)) for name, (words, _) in PRESETS.items()]
    return f"## Named augmentations\n\n{table(('name', 'what it is'), rows)}"


def _row(model: type[BaseModel], name: str) -> tuple[str, ...] | None:
    field = model.model_fields[name]
    if name == "kind":
        return None  # the heading says it
    kind = type_text(field.annotation) + bounds(field.metadata)
    return f"`{name}`", kind, default_text(field), descriptions(model).get(name, "")


def _whole(field: object) -> object:
    return getattr(field, "annotation", None)


def undescribed() -> Iterator[str]:
    """Fields that no docstring describes."""
    for model in models():
        if not issubclass(model, RootModel):
            known = descriptions(model)
            yield from (f"{model.__name__}.{name}" for name in model.model_fields if name not in (*known, "kind"))
