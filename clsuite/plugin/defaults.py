"""Defaults that another argument chooses. Needs no torch."""

from __future__ import annotations

from typing import Any

from clsuite.errors import UserError, did_you_mean
from clsuite.plugin.traits import Traits


def fill_defaults(plugin: str, traits: Traits, /, **given: Any) -> dict[str, Any]:
    """A constructor's arguments, where they are None as ``traits.defaults_by`` has them.

    Args:
        plugin: Its name, for messages.
        traits: What it declares.
        given: All its arguments, or those that `defaults_by` names.

    Returns:
        The same arguments by name.

    Raises:
        UserError: If an argument that chooses has no table, or one is given that the chosen value has no use for.
    """
    values = dict(given)
    for chooser, tables in traits.defaults_by.items():
        chosen = str(values[chooser])
        if chosen not in tables:
            raise did_you_mean(f"{chooser} of plugin '{plugin}':", chosen, tables)
        for name in dict.fromkeys(name for table in tables.values() for name in table):
            if name in tables[chosen]:
                values[name] = tables[chosen][name] if values.get(name) is None else values[name]
            elif values.get(name) is not None:
                raise UserError(f"plugin '{plugin}' has no use for {name} where {chooser} is {chosen}: leave it out")
    return values
