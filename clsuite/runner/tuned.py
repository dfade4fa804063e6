"""What a benchmark's file says of the searches that chose its hyperparameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from clsuite.config.error_text import Mistyped, shown
from clsuite.config.spec import Spec
from clsuite.errors import did_you_mean, unknown_word
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin.loading import short_name
from clsuite.runner.methods import MethodSpec

Text = Annotated[str, Field(min_length=1)]


def _values(value: Any) -> Any:
    """The values that were tried, or how many there were."""
    if isinstance(value, list | tuple) and len(value) > 1 and all(type(one) in (int, float, str) for one in value):
        return tuple(value)
    if value is None or (type(value) is int and value > 1):
        return value
    given = value.given if isinstance(value, Mistyped) else shown(value)
    raise ValueError(f"list the values that were tried, at least two, or write how many there were; not {given}")


class TunedSpec(Spec):
    """A search for a hyperparameter that chose what the benchmark's file gives to some of its methods.

    Attributes:
        methods: The methods, by their names in this file.
        setting: What was searched: an argument of a plugin, such as ``ewc.penalty``, or a field of the training, such
            as ``optimizer.lr``.
        values: The values that were tried, or their number where they are not known.
        how: The seed, the tasks and the images on which the values were compared.
    """

    methods: tuple[str, ...] = Field(min_length=1)
    setting: Text
    values: Annotated[tuple[int | float | str, ...] | int | None, BeforeValidator(_values)] = None
    how: Text

    @property
    def number(self) -> int | None:
        """How many values were tried; None if that is not known."""
        return len(self.values) if isinstance(self.values, tuple) else self.values


def check_searches(searches: Iterable[TunedSpec], methods: Mapping[str, MethodSpec]) -> None:
    """Check that searches name methods of a benchmark, and what these have.

    Raises:
        ValueError: If there is no such method, or it has no such setting.
    """
    for search in searches:
        for name in search.methods:
            if name not in methods:
                raise ValueError(str(did_you_mean("method", name, methods)))
            what = f"setting '{search.setting}' of method '{name}'"
            part: Mapping[str, Any] = _settings_of(methods[name])
            for key in search.setting.split("."):
                known = part if isinstance(part, Mapping) else {}
                if key not in known:
                    raise ValueError(f"{unknown_word(what, key, known)} A search chose a value that the file gives")
                part = known[key]


def _settings_of(method: MethodSpec) -> dict[str, Any]:
    """What a search can be about: the arguments that a file gives to a method's plugins, and fields of the training."""
    own = method.training.get("optimizer")
    of_optimizer = {**dict.fromkeys(OptimizerSpec.model_fields), **(own if isinstance(own, Mapping) else {})}
    of_plugins = {short_name(use.name): use.args for use in method.plugins}
    return {**dict.fromkeys(TrainingSpec.model_fields), "optimizer": of_optimizer, **of_plugins}


def searches_of(searches: Iterable[TunedSpec], names: Iterable[str]) -> tuple[TunedSpec, ...]:
    """The searches for some methods only."""
    chosen = set(names)
    kept = [
        search.model_copy(update={"methods": tuple(name for name in search.methods if name in chosen)})
        for search in searches
    ]
    return tuple(search for search in kept if search.methods)
