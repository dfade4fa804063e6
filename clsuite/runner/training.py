"""The training of a method: from the benchmark's settings, its plugins' needs, and its own settings."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_origin

from pydantic import ValidationError

from clsuite.config.class_use import CLASS, HIDDEN, offered
from clsuite.config.error_text import first_mistake
from clsuite.config.spec import Spec, kinds
from clsuite.errors import UserError, did_you_mean, shortened
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin.compatibility import Named
from clsuite.runner.literals import read_literal
from clsuite.runner.methods import split_outside

COMMAND_LINE = "this call"


def resolve_training(
    base: TrainingSpec, plugins: Sequence[Named], own: Mapping[str, Any], given: Mapping[str, Any]
) -> TrainingSpec:
    """The training of a method, with every default written out.

    Args:
        base: The benchmark's training.
        plugins: Name and declaration of the method's plugins, whose ``traits.training`` overrides it.
        own: Settings of the benchmark for this method; they override both.
        given: Settings of the call; they override all.

    Raises:
        UserError: If a key or value is not valid, or two plugins need different values and no setting decides.
    """
    first = plugins[0][0] if plugins else ""
    training = base
    for name, source in plugins:
        training = _override(training, source.traits.training, f"plugin '{name}'")
    _check_agreement(plugins, {*leaves(own), *leaves(given)})
    training = _override(training, own, f"method with '{first}'")
    return _override(training, given, COMMAND_LINE).resolved()


def brought_training(plugins: Sequence[Named], *stronger: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a method's training that its plugins set, by dotted key.

    Args:
        plugins: Name and declaration of the method's plugins.
        stronger: Settings that override them.
    """
    explicit = {key for settings in stronger for key in leaves(settings)}
    asked = {key: value for _, source in plugins for key, value in leaves(source.traits.training).items()}
    return {key: value for key, value in asked.items() if key not in explicit}


def read_settings(text: str) -> dict[str, Any]:
    """Read ``loss=local, optimizer.lr=0.003`` as a benchmark would write it.

    Raises:
        UserError: If the text is not of that form.
    """
    settings: dict[str, Any] = {}
    for part in split_outside(text, ","):
        key, sign, value = part.partition("=")
        path = [name.strip() for name in key.split(".")]
        try:
            if not sign or not all(name.isidentifier() for name in path):
                raise ValueError
            if ".".join(path) in leaves(settings):
                raise UserError(f"the setting '{'.'.join(path)}' is given twice")
            settings = merged(settings, nested(path, _value(value.strip())))
        except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
            raise UserError(
                f"cannot read the setting '{shortened(part)}': write KEY=VALUE, such as optimizer.lr=0.003"
            ) from error
    return settings


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with some of them changed."""
    result = dict(base)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return result


def _override(training: TrainingSpec, changes: Mapping[str, Any], where: str) -> TrainingSpec:
    try:
        return TrainingSpec.model_validate(merged(_giving_way(training.model_dump(), changes), changes))
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            raise _unknown_key(first["loc"], where) from error
        field = ".".join(("training", *map(str, first["loc"])))
        raise UserError(f"training of {where}: {first_mistake(error, 'it')}", field=field) from error


def _giving_way(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those of an optimizer or a schedule that the changes replace by another kind."""
    optimizer, schedule = changes.get("optimizer"), changes.get("schedule")
    if isinstance(optimizer, Mapping) and (CLASS in optimizer or _names_another(base["optimizer"], optimizer)):
        base["optimizer"] = {key: value for key, value in base["optimizer"].items() if key in OptimizerSpec.KEPT}
    if isinstance(schedule, Mapping) and CLASS in schedule:
        del base["schedule"]
    if "epochs" in changes:
        base.pop("steps", None)
    return base


def _names_another(base: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    name = changes.get("name")
    return name is not None and (CLASS in base or name in offered("optimizer"))


def _unknown_key(location: Sequence[int | str], where: str) -> UserError:
    """The error for an unknown key; for one that is a level too high it says where it belongs."""
    *above, name = (str(part) for part in location)
    model: Any = TrainingSpec
    for part in above:
        model = model.model_fields[part].annotation
    if not above and name in OptimizerSpec.model_fields:
        return UserError(
            f"unknown training key of {where}: '{name}'. It is a setting of the optimizer: optimizer.{name}, "
            f"and in YAML and Python {{optimizer: {{{name}: …}}}}",
            field=f"training.{name}",
            suggestion=f"optimizer.{name}",
        )
    return did_you_mean(f"training key of {where}:", ".".join((*above, name)), _dotted(above, model.model_fields))


def _dotted(above: Sequence[str], names: Iterable[str]) -> list[str]:
    return [".".join((*above, name)) for name in names if name not in HIDDEN]


def _check_agreement(plugins: Sequence[Named], explicit: set[str]) -> None:
    asked: dict[str, tuple[str, Any]] = {}
    for name, source in plugins:
        for key, value in leaves(source.traits.training).items():
            other, before = asked.setdefault(key, (name, value))
            if before != value and key not in explicit:
                raise UserError(
                    f"'{other}' needs training.{key}: {before} and '{name}' needs {value}: choose one, "
                    f"in the method's training or with --training {key}=..."
                )


def leaves(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted keys."""
    return dict(_walk(settings, prefix))


def _walk(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _value(text: str) -> Any:
    """A value as written by users; ``global`` is a word here, although it is a keyword of Python."""
    if keyword.iskeyword(text) and text not in ("None", "True", "False"):
        return text
    return read_literal(ast.parse(text, mode="eval").body)


def nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    """Nested settings with one value, from the parts of its dotted key."""
    for name in reversed(path):
        value = {name: value}
    settings: dict[str, Any] = value
    return settings


def lists_in(settings: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Lists in training settings that expect a single value, which are grids, by dotted key."""
    single = {*_single(TrainingSpec, ""), *_single(OptimizerSpec, "optimizer.")}
    return {key: value for key, value in leaves(settings).items() if key in single and isinstance(value, list)}


def without_lists(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Training settings without the lists that are grids."""
    grid = lists_in(settings)
    if not grid:
        return dict(settings)
    kept: dict[str, Any] = {}
    for key, value in leaves(settings).items():
        kept = kept if key in grid else merged(kept, nested(key.split("."), value))
    return kept


def _single(model: type[Spec], prefix: str) -> Iterator[str]:
    """The dotted keys of the fields that expect a single value."""
    for name, field in model.model_fields.items():
        if name not in (*HIDDEN, "optimizer") and tuple not in {get_origin(kind) for kind in kinds(field.annotation)}:
            yield f"{prefix}{name}"
