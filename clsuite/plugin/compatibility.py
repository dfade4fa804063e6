"""Which plugins go together: refused before training, with the reason. Needs no torch."""

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
    STANDING_IN,
    TRAINING,
    UNTRAINED,
)
from clsuite.plugin.introspection import PluginSource
from clsuite.plugin.traits import Traits
from clsuite.scenarios.catalog import SINGLE_PASS

Named = tuple[str, PluginSource]


def check_method(
    plugins: Sequence[Named], scenario_kind: str, arguments: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Check that a method's plugins compose and suit the stream.

    Args:
        plugins: Name and declaration of each plugin, in order.
        scenario_kind: Kind of the stream.
        arguments: Arguments of each plugin, where they are known.

    Raises:
        UserError: If they do not; says which, and why.
    """
    names = [name for name, _ in plugins]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"method [{', '.join(names)}]: plugin '{name}' is listed twice")
    for name, source in plugins:
        if refusal := scenario_refusal(source.traits, scenario_kind):
            raise UserError(f"plugin '{name}' cannot learn {scenario_kind} streams{refusal}")
    _check_answers(plugins)
    _check_loans(plugins)
    _check_roles(plugins, arguments)
    _check_modules(plugins)
    for plugin in plugins:
        for other in plugins:
            if plugin is not other:
                _check_pair(plugin, other)
    _check_order(plugins, arguments or [{} for _ in plugins])


def scenario_refusal(traits: Traits, kind: str) -> str:
    """Why a plugin cannot learn a kind of stream; empty where it can."""
    if kind in traits.unsupported_scenarios:
        return f": {traits.unsupported_scenarios[kind]}"
    if kind in SINGLE_PASS and traits.second_pass:
        return f": {traits.second_pass}, but the stream passes once"
    return "" if kind in traits.scenarios else f", only {', '.join(traits.scenarios)}"


def _check_answers(plugins: Sequence[Named]) -> None:
    for hook, what in ANSWERING.items():
        answering = [name for name, source in plugins if hook in source.hooks]
        if len(answering) > 1:
            both = " and ".join(f"'{name}'" for name in answering)
            raise UserError(f"{both} cannot be combined: both answer {what} ({hook}), and only one plugin can")


def _check_loans(plugins: Sequence[Named]) -> None:
    """A plugin that borrows exemplars finds one that lends them, which has chosen its own by then."""
    lenders = [name for name, source in plugins if source.traits.lends]
    for place, (name, source) in enumerate(plugins):
        if not source.traits.borrows or not lenders:
            continue
        if len(lenders) > 1:
            both = " and ".join(f"'{lender}'" for lender in lenders)
            raise UserError(
                f"'{name}' borrows the exemplars of one plugin, and {both} keep some: leave one of them out"
            )
        if lenders[0] in [later for later, _ in plugins[place:]]:
            raise UserError(f"'{name}' must come after the plugin that stores exemplars: write [{lenders[0]}, {name}]")


def _check_roles(plugins: Sequence[Named], arguments: Sequence[Mapping[str, Any]] | None) -> None:
    """A plugin that works on parameters of another one finds one before it that may bring them."""
    given = [None] * len(plugins) if arguments is None else arguments
    brought = [_roles(source, one) for (_, source), one in zip(plugins, given, strict=True)]
    for place, (name, source) in enumerate(plugins):
        for role in source.traits.works_on:
            if any(roles is None or role in roles for roles in brought[:place]):
                continue
            later = [other for (other, _), roles in zip(plugins, brought, strict=True) if roles and role in roles]
            if later:
                raise UserError(f"'{name}' works on the {role} of '{later[0]}': write [{later[0]}, {name}]")
            raise UserError(f"'{name}' works on {role}, and no plugin of the method brings any: put one before it")


def _roles(source: PluginSource, given: Mapping[str, Any] | None) -> frozenset[str] | None:
    """Roles of the parameters that a plugin brings; None where its declaration, or its arguments, do not tell."""
    defaults = {one.name: one.default for one in source.parameters if one.name in ("pet", "kind")}
    if given is None and defaults:
        return None
    chosen = ({**defaults, **(given or {})}.get(name) for name in ("pet", "kind"))
    kinds = {*source.traits.pet, *(one for one in chosen if isinstance(one, str))} & ROLES.keys()
    if kinds:
        return frozenset(ROLES[kind] for kind in kinds)
    return None if "modules" in source.traits.memory else frozenset()


def _check_modules(plugins: Sequence[Named]) -> None:
    """Modules beside two files have one name each, for a process knows one module of a name."""
    files = [(name, source) for name, source in plugins if source.home is not None and not source.home.module]
    for (name, source), (other, others) in combinations(files, 2):
        for module in sorted(source.hashed.modules.keys() & others.hashed.modules.keys()):
            if source.hashed.modules[module].content != others.hashed.modules[module].content:
                raise UserError(
                    f"'{name}' and '{other}' cannot be combined: both import '{module}', and each from another file: "
                    "give one of the two files another name"
                )


def _check_order(plugins: Sequence[Named], arguments: Sequence[Mapping[str, Any]]) -> None:
    """What depends on the order of two plugins is refused in the wrong one (`ORDERS`)."""
    does = [_deeds(source, given) for (_, source), given in zip(plugins, arguments, strict=True)]
    for one, other in combinations(range(len(plugins)), 2):
        earlier, later = plugins[one][0], plugins[other][0]
        reason = _reason_to_lead(does[other], does[one])
        if reason and _reason_to_lead(does[one], does[other]):
            raise UserError(f"'{earlier}' and '{later}' cannot be combined: each must come before the other")
        if reason:
            raise UserError(f"'{later}' must come before '{earlier}', {reason}: write [{later}, {earlier}]")


def _deeds(source: PluginSource, given: Mapping[str, Any]) -> frozenset[str]:
    """What a plugin says that it does, and what its hooks and stores say."""
    at_the_end, stores = "on_task_end" in source.hooks, {*source.traits.memory}
    found = {
        "swaps weights": source.hooks >= STANDING_IN,
        "reads weights": at_the_end and bool(stores & {*OF_WEIGHTS}),
        "keeps statistics": at_the_end and bool(stores & {*OF_FEATURES}),
        "herds": given.get("buffer", source.traits.buffer) == "herding",
    }
    return frozenset({*source.traits.effects, *(deed for deed, done in found.items() if done)})


def _reason_to_lead(first: frozenset[str], second: frozenset[str]) -> str:
    """Why the one with the first deeds must stand before the other; empty where it need not."""
    return next((why for before, after, why in ORDERS if before in first and after in second), "")


def _check_pair(plugin: Named, other: Named) -> None:
    name, source = plugin
    offered = _offered(other[1])
    both = f"'{name}' and '{other[0]}' cannot be combined"
    of_frozen = {what: why.format(name=name, other=other[0]) for what, why in _beside_frozen(source.traits).items()}
    for what, reason in {**of_frozen, **source.traits.incompatible_with}.items():
        if what in offered:
            raise UserError(f"{both}: {reason}")
    if source.traits.gradient_free and not other[1].traits.first_session:
        idle = _idle(other[1])
        if idle:
            raise UserError(f"{both}: '{name}' takes no gradient steps, so {idle.format(other=other[0], name=name)}")


def _offered(source: PluginSource) -> set[str]:
    """What a plugin keeps and does, by the names that `Traits.incompatible_with` has for it.

    A classification loss of its own is a loss too: what cannot stand beside an added one assumes the cross-entropy.
    """
    frozen = {"freezes_backbone"} if source.traits.freezes_backbone else set()
    loss = {"loss"} if "classification" in source.hooks else set()
    return {*source.traits.memory, *source.traits.effects, *source.hooks, *frozen, *loss}


def _beside_frozen(traits: Traits) -> Mapping[str, str]:
    """What cannot be combined with a plugin because it freezes the backbone, with the reasons."""
    if not traits.freezes_backbone:
        return {}
    return {**FROZEN, **MODULES_ON_FROZEN} if "modules" in traits.memory else FROZEN


def _idle(source: PluginSource) -> str:
    """What of a plugin would come to nothing where no gradient steps are taken; empty where nothing would."""
    hooks = [hook for hook in TRAINING if hook in source.hooks]
    hooks += ["all"] if "gradient" in source.traits.requires else []
    if hooks:
        return f"{', '.join(hooks)} of '{{other}}' would never act"
    return next((reason for kind, reason in UNTRAINED.items() if kind in source.traits.memory), "")
