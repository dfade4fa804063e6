"""Reads YAML into checked models; every error names the file and the line, and all mistakes are reported at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from clsuite.config.class_use import HIDDEN
from clsuite.config.error_text import in_words
from clsuite.config.yaml_text import YAML_TAG, read_yaml, write_yaml
from clsuite.errors import UserError, nearest, printable, several, unknown_word

Model = TypeVar("Model")
Location = tuple[int | str, ...]


class Problem(NamedTuple):
    """A mistake in a file.

    Attributes:
        missing: Whether something is missing, which is reported last, as it may follow from another mistake.
        line: The line.
        text: The message.
        field: The dotted key that is wrong.
        suggestion: What may be meant instead.
    """

    missing: bool
    line: int
    text: str
    field: str = ""
    suggestion: str = ""


TEXT_KEYS = (f"{YAML_TAG}str", f"{YAML_TAG}merge", f"{YAML_TAG}value")


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a model, or into a list of models.

    Raises:
        UserError: If the file cannot be read, is not YAML, or has misspelled or mistyped keys; one line for each
            mistake, with its place.
    """
    with _placed(path):
        node, content = read_yaml(path)
    listed = not hasattr(model, "model_fields")
    if listed and node is None:
        node, content = yaml.SequenceNode("", [], yaml.Mark("", 0, 0, 0, None, 0)), []
    if not isinstance(node, yaml.SequenceNode if listed else yaml.MappingNode):
        raise UserError(f"'{path}' must be a {'list of entries' if listed else 'mapping'} such as '{_example(model)}'")
    problems = [Problem(False, line, text) for line, text in _key_problems(node)]
    try:
        loaded = TypeAdapter(model).validate_python(content)
    except ValidationError as error:
        problems += _model_problems(node, model, error.errors(include_url=False))
    if problems:
        raise several(
            UserError.in_file(path, mistake.line, _error(mistake)) for mistake in sorted(dict.fromkeys(problems))
        )
    return loaded


def _error(problem: Problem) -> UserError:
    return UserError(printable(problem.text), field=problem.field or None, suggestion=problem.suggestion or None)


@contextmanager
def _placed(path: Path) -> Iterator[None]:
    """Set path and line of an error whose message begins with both."""
    try:
        yield
    except UserError as error:
        error.path = path
        if found := re.match(r":(\d+): ", str(error).removeprefix(str(path))):
            error.line, error.message = int(found[1]), str(error).removeprefix(f"{path}{found[0]}")
        raise


def mistakes_in(model: Any, content: Any, error: ValidationError) -> list[str]:
    """The mistakes of content that is not in a file, as they are reported for a file but without lines.

    Args:
        model: The model that the content does not match.
        content: The content.
        error: The error of the model.
    """
    node = yaml.compose(write_yaml(content))
    assert node is not None
    problems = _model_problems(node, model, error.errors(include_url=False))
    return [printable(text) for _, _, text, *_ in sorted(dict.fromkeys(problems))]


def line_of(path: Path, location: Location, word: str = "") -> int:
    """The line of a key or an entry of a YAML file; 0 if there is no such file or place.

    Args:
        path: The file.
        location: The keys that lead to it.
        word: A key, or a word of a value, below that place; if it is found, its line is returned.
    """
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return 0
    node, _ = read_yaml(path)
    line = 0
    for part in location:
        child = _child(node, part) if node is not None else None
        if child is None:
            return 0
        line, node = child
    return _line_of_word(node, word) or line if node is not None and word else line


def _line_of_word(node: yaml.Node, word: str) -> int:
    """The line of the first key that equals a word, or else of the first text with it; 0 if there is neither."""
    keys, texts, todo = list[int](), list[int](), [node]
    while todo:
        current = todo.pop(0)
        if isinstance(current, yaml.MappingNode):
            keys += [key.start_mark.line + 1 for key, _ in current.value if key.value == word]
            todo += [value for _, value in current.value]
        elif isinstance(current, yaml.SequenceNode):
            todo += current.value
        elif re.search(rf"(?<![\w.]){re.escape(word)}(?![\w])", str(current.value)):
            texts.append(current.start_mark.line + 1)
    return next(iter((*keys, *texts)), 0)


def _example(model: Any) -> str:
    return "name: ..." if hasattr(model, "model_fields") else f"- {next(iter(_model_inside(model).model_fields))}: ..."


def _key_problems(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Report duplicate keys, of which YAML silently takes the last, and numbers as keys."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _key_problems(item)
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            yield from _key_problems(value)
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag not in TEXT_KEYS:
                name = key.value if isinstance(key, yaml.ScalarNode) else "of this line"
                yield line, f"the key '{name}' is not text: write it in quotation marks"
            elif key.value in first:
                yield line, f"duplicate key '{key.value}' (first on line {first[key.value]})"
            else:
                first[key.value] = line


def _model_problems(root: yaml.Node, model: Any, errors: Sequence[ErrorDetails]) -> Iterator[Problem]:
    """A mistake for each place that has one; none for what is missing because its key is misspelled."""
    misspelled = {
        (*_without_tags(model, error["loc"][:-1]), near)
        for error in errors
        if error["type"] == "extra_forbidden"
        for near in _near(str(error["loc"][-1]), _fields(model, error["loc"][:-1]))
    }
    reported: set[Location] = set()
    for error in sorted(errors, key=lambda mistake: -len(mistake["loc"])):  # not a list with a mistake inside
        location = _without_tags(model, error["loc"])
        missing = error["type"] == "missing"
        if location not in reported and not (missing and location in misspelled) and not _is_key(error):
            yield _explain(root, model, location, error)
        reported.update(location[:depth] for depth in range(len(location) + (not missing)))


def _is_key(error: ErrorDetails) -> bool:
    """Whether an error is about a key that is not text, which is reported with its line already."""
    return error["type"] == "invalid_key" or "[key]" in error["loc"]


def _explain(root: yaml.Node, model: Any, location: Location, error: ErrorDetails) -> Problem:
    line, shown = _locate(root, location)
    entry = isinstance(next(iter(shown), None), int)  # of a list of entries, whose line says which
    parts = [str(part) for part in shown[entry:]]
    where = ".".join(part or "''" for part in parts) or ("the entry" if entry else "the file")
    if error["type"] == "extra_forbidden":
        name, known = str(location[-1]), _fields(model, error["loc"][:-1])
        text = unknown_word(f"key '{'.'.join(parts)}'", name, known)
        return Problem(False, line, text, where, next(iter(nearest(name, known)), ""))
    fields = _fields(model, error["loc"])
    text = in_words(error, where, fields[0] if fields else "name")
    return Problem(error["type"] == "missing", line, text, where)


def _near(name: str, known: Sequence[str]) -> list[str]:
    return nearest(name, known, 1)


def _locate(node: yaml.Node, location: Location) -> tuple[int, Location]:
    """Line of the deepest part of a location that is in the file, and that part."""
    line = node.start_mark.line + 1
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


def _fields(model: Any, location: Location) -> list[str]:
    """Names of the fields of the model at a location."""
    current: Any = model
    for part in location:
        current = _step(current, part)
    return [name for name in getattr(current, "model_fields", {}) if name not in HIDDEN]


def _without_tags(model: Any, location: Location) -> Location:
    """The location as it is in the file: without the tags that pydantic adds for the members of a union."""
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
    """The member of a union that a tag names, in a root model or in a type such as a list's."""
    root = getattr(current, "model_fields", {}).get("root")
    members = [member for member in get_args(root.annotation if root else current) if _is_tagged(member)]
    return next((member for member in members if member.model_fields["kind"].default == part), None)


def _is_tagged(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, BaseModel) and "kind" in member.model_fields


def _model_inside(annotation: Any) -> Any:
    """The model that a mapping or a tuple of models holds."""
    return next((argument for argument in get_args(annotation) if hasattr(argument, "model_fields")), None)
