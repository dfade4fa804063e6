"""Fields of a benchmark that a call sets, such as ``training.optimizer.lr=0.001``, checked as those of its file are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, RootModel, ValidationError

from clsuite.config.class_use import HIDDEN, MaybeOwn, class_entry
from clsuite.config.yaml_models import mistakes_in
from clsuite.config.yaml_text import read_value
from clsuite.errors import UserError, did_you_mean, several, shortened
from clsuite.learner.options import TrainingSpec
from clsuite.plugin.loading import short_name
from clsuite.runner.methods import MethodSpec, places_outside, split_outside
from clsuite.runner.spec import BenchmarkSpec
from clsuite.runner.training import lists_in, nested
from clsuite.runner.tuned import TunedSpec, searches_of

OF_METHODS = ("methods", "more_methods")
WHO = "settings of this call"


def read_assignments(texts: Sequence[str], example: str = "training.optimizer.lr=0.001") -> dict[str, Any]:
    """Read ``KEY=VALUE`` each, the value as in a YAML file.

    Args:
        texts: What was written.
        example: An example, for messages.

    Raises:
        UserError: If one is not that, or a key is given twice.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        at = next(places_outside(text, "="), None)
        key = text[: at or 0].strip()
        if at is None or not key:
            raise UserError(f"cannot read the setting '{shortened(text)}': write KEY=VALUE, such as {example}")
        if key in settings:
            raise UserError(f"the setting '{key}' is given twice")
        settings[key] = read_value(text[at + 1 :], f"the value of '{shortened(key)}'")
    return settings


def with_settings(spec: BenchmarkSpec, settings: Mapping[str, Any]) -> BenchmarkSpec:
    """The benchmark with some of its fields set.

    Args:
        spec: The benchmark.
        settings: Values by dotted key, as they would be in its file: ``scenario.tasks``, ``seeds``, ``probes.0.k``,
            ``methods.replay.replay.capacity``, ``methods.joint.training.epochs``. A part with a dot in it is in
            quotation marks. A mapping takes the place of all that was there.

    Raises:
        UserError: If there is no such field, or it cannot have the value; a line for each mistake.
    """
    if not settings:
        return spec
    content, paths = content_of(spec), {key: _path(key, spec) for key in settings}
    for key, value in settings.items():
        _put(content, paths[key], value, key)
    if spec.tuned and not any(path[0] == "tuned" for path in paths.values()):
        content["tuned"] = [content_of(search) for search in _searches_left(spec, content)]
    try:
        return BenchmarkSpec.model_validate(content)
    except ValidationError as error:
        mistakes = mistakes_in(BenchmarkSpec, content, error)
        raise several(f"{WHO}: {text}{_as_sweep(text, settings)}" for text in mistakes) from error


def _searches_left(spec: BenchmarkSpec, content: Mapping[str, Any]) -> tuple[TunedSpec, ...]:
    """The benchmark's searches, without those for methods that the call has changed."""
    parts = [content.get(part) for part in OF_METHODS]
    named = {name: method for part in parts if isinstance(part, dict) for name, method in part.items()}
    same = [name for name, method in spec.named_methods.items() if named.get(name) == content_of(method)]
    return searches_of(spec.tuned, same)


def _as_sweep(text: str, settings: Mapping[str, Any]) -> str:
    """How to run with each value of a list, where a message is about a list as a field of the training."""
    for key, value in settings.items():
        section, _, field = key.partition(".")
        if section == "training" and text.startswith(f"{key} is ") and lists_in(nested(field.split("."), value)):
            return f". To run with each of its values: --training '{field}={value}'"
    return ""


def content_of(value: Any, every: bool = False) -> Any:
    """A specification as it would be read from a file.

    Args:
        value: The specification, or a part of it.
        every: Whether to write out fields that nobody has set, too.
    """
    if isinstance(value, MethodSpec):
        plugins = [{use.name: content_of(use.args)} for use in value.plugins]
        return {"plugins": plugins, "training": content_of(value.training)}
    if isinstance(value, RootModel):
        return content_of(value.root, every)
    if isinstance(value, BaseModel):
        return _fields_of(value, every)
    if isinstance(value, Mapping):
        return {key: content_of(item, every) for key, item in value.items()}
    return [content_of(item, every) for item in value] if isinstance(value, list | tuple) else value


def _fields_of(value: BaseModel, every: bool) -> dict[str, Any]:
    """The fields of a specification; those with a user-defined class are as they are written in YAML."""
    written = {*value.model_fields_set, "kind"}
    names = [name for name in type(value).model_fields if (every or name in written) and name not in HIDDEN]
    content = {name: content_of(getattr(value, name), every) for name in names}
    if isinstance(value, TrainingSpec) and value.own_schedule is not None:
        content["schedule"] = content_of(value.own_schedule, every)
    if not isinstance(value, MaybeOwn) or value.own is None:
        return content
    kept = {key: item for key, item in content.items() if key in value.KEPT and key != "kind"}
    return {**kept, **{key: content_of(item) for key, item in class_entry(value.own).items() if item is not None}}


def _path(key: str, spec: BenchmarkSpec) -> list[str]:
    """The parts of a key; of one that is of a method, with the place of its plugin in the list of them."""
    path = [_unquoted(part) for part in split_outside(key, ".")]
    if not path:
        raise UserError(f"{WHO}: '{shortened(key)}' names no field: write for example training.optimizer.lr")
    if path[0] not in OF_METHODS or len(path) < 3:
        return path
    place = next((item for item in OF_METHODS if path[1] in getattr(spec, item)), None)
    if place is None:
        raise _of_call(did_you_mean("method", path[1], spec.named_methods))
    if path[2] in MethodSpec.model_fields:
        return [place, *path[1:]]
    names = [short_name(use.name) for use in getattr(spec, place)[path[1]].plugins]
    if path[2] not in names:
        raise _of_call(did_you_mean(f"plugin of method '{path[1]}':", path[2], [*names, "training"]))
    number = names.index(path[2])
    return [place, path[1], "plugins", str(number), getattr(spec, place)[path[1]].plugins[number].name, *path[3:]]


def _unquoted(part: str) -> str:
    return part[1:-1] if len(part) > 1 and part[0] == part[-1] and part[0] in "'\"" else part


def _put(content: Any, path: Sequence[str], value: Any, key: str) -> None:
    """Set a field, below mappings that are made where there are none."""
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(content, list):
            if not part.isdecimal() or int(part) >= len(content):
                above = ".".join(path[:depth])
                raise UserError(f"{WHO}: {key}: '{above}' is a list of {len(content)}, from 0: it has no '{part}'")
            content[int(part)] = value if last else content[int(part)]
            content = content[int(part)]
        elif isinstance(content, dict):
            content[part] = value if last else ({} if content.get(part) is None else content[part])
            content = content[part]
        else:
            raise UserError(f"{WHO}: {key}: '{'.'.join(path[:depth])}' is a value and has no '{part}'")


def _of_call(error: UserError) -> UserError:
    return UserError(f"{WHO}: {error}")
