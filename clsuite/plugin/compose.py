"""Which plugins go together: refused before training, with the reason. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from clsuite.errors import UserError
from clsuite.plugin.hooks import ANSWERING, OF_WEIGHTS, STANDING_IN, TRAINING, UNTRAINED
from clsuite.plugin.source import PluginSource

Named = tuple[str, PluginSource]


def check_method(plugins: Sequence[Named], scenario_kind: str) -> None:
    """Check that a method's plugins compose and suit the stream.

    Args:
        plugins: Name and declaration of each plugin, in order.
        scenario_kind: Kind of the stream.

    Raises:
        UserError: If they do not; says which, and why.
    """
    names = [name for name, _ in plugins]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"method [{', '.join(names)}]: plugin '{name}' stands in it twice")
    for name, source in plugins:
        if scenario_kind in source.traits.refuses:
            reason = source.traits.refuses[scenario_kind]
            raise UserError(f"plugin '{name}' cannot learn {scenario_kind} streams: {reason}")
        if scenario_kind not in source.traits.scenarios:
            raise UserError(
                f"plugin '{name}' cannot learn {scenario_kind} streams, only {', '.join(source.traits.scenarios)}"
            )
    _check_answers(plugins)
    _check_order(plugins)
    for plugin in plugins:
        for other in plugins:
            if plugin is not other:
                _check_pair(plugin, other)


def _check_answers(plugins: Sequence[Named]) -> None:
    for hook, what in ANSWERING.items():
        answering = [name for name, source in plugins if hook in source.methods]
        if len(answering) > 1:
            both = " and ".join(f"'{name}'" for name in answering)
            raise UserError(f"{both} cannot be combined: both answer {what} ({hook}), and only one plugin can")


def _check_order(plugins: Sequence[Named]) -> None:
    """A plugin that works on the weights at a task's end must not meet weights that only stand in for others."""
    for place, (name, source) in enumerate(plugins):
        for other, later in plugins[place + 1 :] if source.methods >= STANDING_IN else ():
            if "on_task_end" in later.methods and set(later.traits.stores) & {*OF_WEIGHTS}:
                raise UserError(
                    f"'{other}' must stand before '{name}', whose weights stand in for the evaluation alone: "
                    f"write [{other}, {name}]"
                )


def _check_pair(plugin: Named, other: Named) -> None:
    name, source = plugin
    offered = {*other[1].traits.stores, *other[1].methods}
    for what, reason in source.traits.forbids.items():
        if what in offered:
            raise UserError(f"'{name}' and '{other[0]}' cannot be combined: {reason}")
    if source.traits.gradient_free and not other[1].traits.first_session:
        idle = _idle(other[1])
        if idle:
            raise UserError(
                f"'{name}' and '{other[0]}' cannot be combined: '{name}' takes no gradient steps, "
                f"so {idle.format(other=other[0], name=name)}"
            )


def _idle(source: PluginSource) -> str:
    """What of a plugin would come to nothing where no gradient steps are taken; empty where nothing would."""
    hooks = [hook for hook in TRAINING if hook in source.methods]
    hooks += ["all"] if "gradient" in source.traits.needs else []
    if hooks:
        return f"{', '.join(hooks)} of '{{other}}' would never act"
    return next((reason for kind, reason in UNTRAINED.items() if kind in source.traits.stores), "")
