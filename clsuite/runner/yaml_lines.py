"""Reads YAML into checked models; every complaint names the file and the line."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from clsuite.errors import UserError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a model.

    Raises:
        UserError: If the file cannot be read, is not YAML, or has a misspelt or mistyped key; says in which line.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        _refuse_doubles(path, node)
        content = yaml.SafeLoader("").construct_document(node) if node else {}
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"'{path}' is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"'{path}' must be a mapping such as 'name: ...'")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(_explain(path, node, model, error.errors()[0])) from error


def _refuse_doubles(path: Path, node: yaml.Node | None) -> None:
    """YAML takes the last of two equal keys in silence; here the second is a mistake."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_doubles(path, item)
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            _refuse_doubles(path, value)
            if not isinstance(key, yaml.ScalarNode):
                continue  # such a key is refused when the mapping is built
            line = key.start_mark.line + 1
            if key.value in first:
                raise UserError(f"{path}:{line}: the key '{key.value}' stands in line {first[key.value]} already")
            first[key.value] = line


def _explain(path: Path, root: yaml.Node, model: type[BaseModel], error: ErrorDetails) -> str:
    location = _without_tags(model, error["loc"])
    line, shown = _locate(root, location)
    where = ".".join(str(part) for part in shown) or "the file"
    if error["type"] == "extra_forbidden":
        name = str(location[-1])
        near = difflib.get_close_matches(name, _fields(model, error["loc"][:-1]), n=1)
        mend = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(_fields(model, error['loc'][:-1]))}."
        return f"{path}:{line}: unknown key '{where}'. {mend}"
    message = error["msg"].removeprefix("Value error, ")
    given = "" if error["type"] in ("missing", "value_error") else f", not {error['input']!r}"
    return f"{path}:{line}: {where}: {message}{given}"


def _locate(node: yaml.Node, location: Location) -> tuple[int, Location]:
    """Line of the deepest part of a location that stands in the file, and that part."""
    line, depth = node.start_mark.line + 1, 0
    for depth, part in enumerate(location):
        child = _child(node, part)
        if child is None:
            return line, location[: depth + 1]
        line, node = child
    return line, location


def _child(node: yaml.Node, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _fields(model: type[BaseModel], location: Location) -> list[str]:
    """Names of the fields of the model at a location."""
    current: Any = model
    for part in location:
        current = _step(current, part)
    return list(getattr(current, "model_fields", {}))


def _without_tags(model: type[BaseModel], location: Location) -> Location:
    """The location as it stands in the file: without the tags that pydantic puts in for the members of a union."""
    current, kept = model, []
    for part in location:
        if _member(current, part) is None:
            kept.append(part)
        current = _step(current, part)
    return tuple(kept)


def _step(current: Any, part: int | str) -> Any:
    """The type at one part of a location below a type."""
    field = getattr(current, "model_fields", {}).get(str(part))
    inside = field.annotation if field else _model_inside(current)
    if type(None) in get_args(inside):
        inside = _model_inside(inside)
    return _member(current, part) or inside


def _member(current: Any, part: int | str) -> Any:
    """The member of a root model's union that a tag names."""
    root = getattr(current, "model_fields", {}).get("root")
    members = get_args(root.annotation) if root else ()
    return next((member for member in members if member.model_fields["kind"].default == part), None)


def _model_inside(annotation: Any) -> Any:
    """The model that a mapping or a tuple of models holds."""
    return next((argument for argument in get_args(annotation) if hasattr(argument, "model_fields")), None)
