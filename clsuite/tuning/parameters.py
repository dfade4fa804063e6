"""Where a hyperparameter belongs: an argument of one of the method's plugins, or an option of training."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clsuite.config.class_use import HIDDEN
from clsuite.errors import UserError, did_you_mean
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin.introspection import PluginSource
from clsuite.runner.methods import MethodSpec
from clsuite.tuning.space import Dimension


@dataclass(frozen=True)
class ParameterPath:
    """Where a value belongs: to the arguments of plugin number `plugin`, or to the training if that is None."""

    plugin: int | None
    path: tuple[str, ...]


def find_places(
    space: Sequence[Dimension], method: MethodSpec, sources: Sequence[PluginSource]
) -> dict[str, ParameterPath]:
    """The place of each hyperparameter.

    Args:
        space: The hyperparameters; a name may be given alone or after its plugin (``lwf.alpha``) or ``training``.
        method: The method.
        sources: What its plugins declare.

    Raises:
        UserError: If a name is unknown, or may mean several.
    """
    known: dict[str, list[tuple[str, ParameterPath]]] = {}
    for whole, place in _all_places(method, sources):
        for name in {whole, place.path[-1], ".".join(place.path)}:
            known.setdefault(name, []).append((whole, place))
    found: dict[str, ParameterPath] = {}
    for dimension in space:
        candidates = known.get(dimension.name, [])
        if not candidates:
            raise did_you_mean("hyperparameter in --space:", dimension.name, known)
        if len(candidates) > 1:
            names = " or ".join(f"'{whole}'" for whole, _ in candidates)
            raise UserError(f"'{dimension.name}' in --space may be {names}: write which")
        found[dimension.name] = candidates[0][1]
    twice = [name for name, place in found.items() if list(found.values()).count(place) > 1]
    if twice:
        raise UserError(f"{' and '.join(repr(name) for name in twice)} in --space are the same")
    return found


def with_values(method: MethodSpec, places: Mapping[str, ParameterPath], values: Mapping[str, Any]) -> MethodSpec:
    """The method with values in their places."""
    plugins, training = [dict(use.args) for use in method.plugins], dict(method.training)
    for name, value in values.items():
        place = places[name]
        if place.plugin is not None:
            plugins[place.plugin][place.path[0]] = [value] if isinstance(value, list) else value  # no grid of its own
        elif len(place.path) == 1:
            training[place.path[0]] = value
        else:
            training[place.path[0]] = {**training.get(place.path[0], {}), place.path[1]: value}
    uses = tuple(use.model_copy(update={"args": args}) for use, args in zip(method.plugins, plugins, strict=True))
    return MethodSpec(plugins=uses, training=training)


def _all_places(method: MethodSpec, sources: Sequence[PluginSource]) -> list[tuple[str, ParameterPath]]:
    options = [
        (name,)
        for name in TrainingSpec.model_fields
        if name not in ("optimizer", "seeds", "checkpoint_minutes", *HIDDEN)
    ]
    nested = [("optimizer", name) for name in OptimizerSpec.model_fields if name not in HIDDEN]
    places = [(".".join(("training", *path)), ParameterPath(None, path)) for path in (*options, *nested)]
    for number, (use, source) in enumerate(zip(method.plugins, sources, strict=True)):
        short = re.split(r"[/\\:]", use.name)[-1].removesuffix(".py")
        places += [
            (f"{short}.{parameter.name}", ParameterPath(number, (parameter.name,))) for parameter in source.parameters
        ]
    return places
