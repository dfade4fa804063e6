"""Checks before training which plugins can be combined. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from clsuite.errors import UserError
from clsuite.plugin.hooks import (
    ANSWERING,
    FROZEN,
    MODULES_ON_FROZEN,
    OF_FEATURES,
    OF_WEIGHTS,
    ORDERS,
    ROLES,
    TEMPORARY_WEIGHTS,
    TRAINING,
    UNTRAINED,
)
from clsuite.plugin.introspection import PluginSource
from clsuite.plugin.traits import Traits
from clsuite.scenarios.catalog import SINGLE_PASS, SPECIAL_CASES

Named = tuple[str, PluginSource]


def check_method(
    plugins: Sequence[Named], scenario_kind: str, arguments: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Check that the plugins of a method can be combined and suit the stream.

    Args:
        plugins: Names and declarations of the plugins, in order.
        scenario_kind: Kind of the stream.
        arguments: Arguments of each plugin, if they are known.

    Raises:
        UserError: If they do not; names the plugins and the reason.
    """
    names = [name for name, _ in plugins]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"method [{', '.join(names)}]: plugin '{name}' is listed twice")
    _check_alone(plugins)
    for name, source in plugins:
        if refusal := scenario_refusal(source.traits, scenario_kind):
            raise UserError(f"plugin '{name}' cannot learn {scenario_kind} streams{refusal}")
    if scenario_kind in SINGLE_PASS:
        _check_first_session(plugins, scenario_kind)
    _check_answers(plugins)
    _check_borrowing(plugins)
    _check_roles(plugins, arguments)
    _check_modules(plugins)
    for plugin in plugins:
        for other in plugins:
            if plugin is not other:
                _check_pair(plugin, other)
    _check_order(plugins, arguments or [{} for _ in plugins])


def scenario_refusal(traits: Traits, kind: str) -> str:
    """Why a plugin cannot learn a kind of stream; empty if it can."""
    if kind in traits.unsupported_scenarios:
        return f": {traits.unsupported_scenarios[kind]}"
    if kind in SINGLE_PASS and traits.second_pass:
        return f": {traits.second_pass}, but the stream passes once"
    learned = kind in traits.scenarios or SPECIAL_CASES.get(kind) in traits.scenarios
    return "" if learned else f", only {', '.join(traits.scenarios)}"


def _check_first_session(plugins: Sequence[Named], kind: str) -> None:
    """Check that the images of a first session do not pass again for a classifier, where the stream passes once."""
    trained = [name for name, source in plugins if source.traits.first_session]
    keeping = [name for name, source in plugins if source.traits.gradient_free]
    if trained and keeping:
        both = " and ".join(f"'{name}'" for name in dict.fromkeys([*trained, *keeping]))
        raise UserError(
            f"plugin {both} cannot learn {kind} streams: the network is trained on the images of the first task, which "
            f"then pass again for what '{keeping[0]}' keeps of them, but the stream passes once"
        )


def _check_alone(plugins: Sequence[Named]) -> None:
    """Check that a method of another library is composed with nothing."""
    for name, source in plugins:
        if source.alone is not None and len(plugins) > 1:
            others = " and ".join(f"'{other}'" for other, _ in plugins if other != name)
            raise UserError(f"'{name}' and {others} cannot be combined: {source.alone.reason}")


def _check_answers(plugins: Sequence[Named]) -> None:
    for hook, what in ANSWERING.items():
        answering = [name for name, source in plugins if hook in source.hooks]
        if len(answering) > 1:
            both = " and ".join(f"'{name}'" for name in answering)
            raise UserError(f"{both} cannot be combined: both answer {what} ({hook}), and only one plugin can")


def _check_borrowing(plugins: Sequence[Named]) -> None:
    """Check that a plugin that borrows exemplars comes after exactly one that lends them, if there is any."""
    lenders = [name for name, source in plugins if source.traits.lends]
    for place, (name, source) in enumerate(plugins):
        if not source.traits.borrows or not lenders:
            continue
        if len(lenders) > 1:
            both = " and ".join(f"'{lender}'" for lender in lenders)
            raise UserError(
                f"'{name}' borrows the exemplars of one plugin, but {both} store exemplars: remove one of them"
            )
        if lenders[0] in [later for later, _ in plugins[place:]]:
            raise UserError(f"'{name}' must come after the plugin that stores exemplars: write [{lenders[0]}, {name}]")


def _check_roles(plugins: Sequence[Named], arguments: Sequence[Mapping[str, Any]] | None) -> None:
    """Check that a plugin that works on parameters of another one comes after one that may have them."""
    given = [None] * len(plugins) if arguments is None else arguments
    brought = [_roles(source, one) for (_, source), one in zip(plugins, given, strict=True)]
    for place, (name, source) in enumerate(plugins):
        for role in source.traits.works_on:
            if any(roles is None or role in roles for roles in brought[:place]):
                continue
            later = [other for (other, _), roles in zip(plugins, brought, strict=True) if roles and role in roles]
            if later:
                raise UserError(f"'{name}' works on the {role} of '{later[0]}': write [{later[0]}, {name}]")
            raise UserError(f"'{name}' works on {role}, but no plugin of the method has any: add one before it")


def _roles(source: PluginSource, given: Mapping[str, Any] | None) -> frozenset[str] | None:
    """Roles of the parameters that a plugin has; None if its declaration and arguments do not determine them."""
    defaults = {one.name: one.default for one in source.parameters if one.name in ("pet", "kind")}
    if given is None and defaults:
        return None
    chosen = ({**defaults, **(given or {})}.get(name) for name in ("pet", "kind"))
    kinds = {*source.traits.pet, *(one for one in chosen if isinstance(one, str))} & ROLES.keys()
    if kinds:
        return frozenset(ROLES[kind] for kind in kinds)
    return None if "modules" in source.traits.memory else frozenset()


def _check_modules(plugins: Sequence[Named]) -> None:
    """Check that two files do not import different modules of the same name, which a process cannot have."""
    files = [(name, source) for name, source in plugins if source.home is not None and not source.home.module]
    for (name, source), (other, others) in combinations(files, 2):
        for module in sorted(source.hashed.modules.keys() & others.hashed.modules.keys()):
            if source.hashed.modules[module].content != others.hashed.modules[module].content:
                raise UserError(
                    f"'{name}' and '{other}' cannot be combined: both import '{module}', but from different files: "
                    "rename one of the two files"
                )


def _check_order(plugins: Sequence[Named], arguments: Sequence[Mapping[str, Any]]) -> None:
    """Check the order of each two plugins (`ORDERS`)."""
    effects = [_effects(source, given) for (_, source), given in zip(plugins, arguments, strict=True)]
    for one, other in combinations(range(len(plugins)), 2):
        earlier, later = plugins[one][0], plugins[other][0]
        reason = _reason_to_precede(effects[other], effects[one])
        if reason and (against := _reason_to_precede(effects[one], effects[other])):
            raise UserError(
                f"'{earlier}' and '{later}' cannot be combined: each must come before the other, '{later}' before "
                f"'{earlier}', {reason}, and '{earlier}' before '{later}', {against}"
            )
        if reason:
            raise UserError(f"'{later}' must come before '{earlier}', {reason}: write [{later}, {earlier}]")


def _effects(source: PluginSource, given: Mapping[str, Any]) -> frozenset[str]:
    """The declared effects of a plugin, and those that follow from its hooks and memory."""
    at_the_end, memory = "on_task_end" in source.hooks, {*source.traits.memory}
    found = {
        "reads weights": at_the_end and bool(memory & {*OF_WEIGHTS}),
        "keeps statistics": at_the_end and bool(memory & {*OF_FEATURES}),
        "chooses images": "select_indices" in source.hooks and "counts images" not in source.traits.effects,
        "herds": given.get("buffer", source.traits.buffer) == "herding",
    }
    derived = (effect for effect, present in found.items() if present)
    return frozenset({*source.traits.effects, *derived, *_swapping(source)})


def _reason_to_precede(first: frozenset[str], second: frozenset[str]) -> str:
    """Why a plugin with the first effects must come before one with the second; empty if it need not."""
    return next((why for before, after, why in ORDERS if before in first and after in second), "")


def _check_pair(plugin: Named, other: Named) -> None:
    name, source = plugin
    offered = _offered(other[1])
    if source.traits.lends and other[1].traits.borrows:
        offered -= {"exemplars"}  # those of the first one
    both = f"'{name}' and '{other[0]}' cannot be combined"
    of_frozen = {what: why.format(name=name, other=other[0]) for what, why in _beside_frozen(source.traits).items()}
    for what, reason in {**of_frozen, **source.traits.incompatible_with}.items():
        if what in offered:
            raise UserError(f"{both}: {reason}")
    if source.traits.gradient_free and not other[1].traits.first_session:
        unused = _unused_without_steps(other[1])
        if unused:
            raise UserError(f"{both}: '{name}' takes no gradient steps, so {unused.format(other=other[0], name=name)}")


def _offered(source: PluginSource) -> set[str]:
    """What a plugin stores and does, in the terms of `Traits.incompatible_with`.

    Its own classification loss is a loss too: plugins that exclude an added loss assume the cross-entropy.
    """
    frozen = {"freezes_backbone"} if source.traits.freezes_backbone else set()
    loss = {"loss"} if "classification" in source.hooks else set()
    return {*source.traits.memory, *source.traits.effects, *source.hooks, *frozen, *loss, *_swapping(source)}


def _swapping(source: PluginSource) -> set[str]:
    """The effect of a plugin that puts other weights in place for the evaluation, if it is one."""
    return {"swaps weights"} if source.hooks >= TEMPORARY_WEIGHTS else set()


def _beside_frozen(traits: Traits) -> Mapping[str, str]:
    """What is incompatible with a plugin because it freezes the backbone, with the reasons."""
    if not traits.freezes_backbone:
        return {}
    return {**FROZEN, **MODULES_ON_FROZEN} if "modules" in traits.memory else FROZEN


def _unused_without_steps(source: PluginSource) -> str:
    """Which parts of a plugin have no effect without gradient steps; empty if all have one."""
    hooks = [hook for hook in TRAINING if hook in source.hooks]
    hooks += ["all"] if "gradient" in source.traits.requires else []
    if hooks:
        return f"{', '.join(hooks)} of '{{other}}' would have no effect"
    return next((reason for kind, reason in UNTRAINED.items() if kind in source.traits.memory), "")
