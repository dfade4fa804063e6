"""Defaults that depend on another argument. Needs no torch."""

from __future__ import annotations

from typing import Any

from clsuite.errors import UserError, did_you_mean
from clsuite.plugin.traits import Traits


def fill_defaults(plugin: str, traits: Traits, /, **given: Any) -> dict[str, Any]:
    """Replace arguments that are None by the defaults in ``traits.defaults_by``.

    Args:
        plugin: Name of the plugin, for messages.
        traits: The traits of the plugin.
        given: All its arguments, or those in `defaults_by`.

    Returns:
        The same arguments by name.

    Raises:
        UserError: If there are no defaults for the value of the other argument, or an argument is given that this value
            does not use.
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
