"""Whose parameters are what: the backbone's, the head's, and those that plugins have made, by role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import nn

from clsuite.errors import UserError

if TYPE_CHECKING:
    from clsuite.learner.tools import LearnerTools

ON_FEATURES = "features"
"""The role of modules that act on features alone, behind the backbone."""


def parameters_of(learner: LearnerTools, registered: Mapping[str, str], role: str) -> dict[str, nn.Parameter]:
    """The parameters of a role by their name in the learner.

    Args:
        learner: The model.
        registered: Roles that plugins gave modules, by the modules' names.
        role: The role.

    Raises:
        UserError: If there are none; says what there is.
    """
    by_role: dict[str, dict[str, nn.Parameter]] = {}
    for place, module, known in _parts(learner, registered):
        by_role.setdefault(known, {}).update({f"{place}.{name}": value for name, value in module.named_parameters()})
    found = by_role.get(role)
    if not found:
        there = ", ".join(sorted(name for name, values in by_role.items() if values))
        raise UserError(f"no plugin of the method has brought '{role}'; there are: {there}")
    return found


def _parts(learner: LearnerTools, registered: Mapping[str, str]) -> Iterator[tuple[str, nn.Module, str]]:
    """Name, module and role of all that has one; what is inside another with a role belongs to that alone."""
    yield "backbone", learner.backbone, "backbone"
    yield "head", learner.head, "head"
    inside = ""
    for name, module in learner.plugin_modules.named_modules(prefix="plugin_modules"):
        if inside and name.startswith(inside):
            continue
        role = registered.get(name.removeprefix("plugin_modules."), getattr(module, "role", ""))
        if isinstance(role, str) and role:
            inside = f"{name}."
            yield name, module, role
