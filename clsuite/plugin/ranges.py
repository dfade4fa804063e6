"""Range checks for numeric arguments of plugins, with a one-line message that names the allowed values."""

from __future__ import annotations

import math

from clsuite.errors import UserError


def check_range(
    plugin: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    **values: float | None,
) -> None:
    """Check that arguments of a plugin are in a range; None is allowed.

    Args:
        plugin: Name of the plugin, for the message.
        at_least: Smallest allowed value.
        above: Lower bound that is not allowed itself.
        at_most: Largest allowed value.
        below: Upper bound that is not allowed itself.
        **values: The arguments, by name.

    Raises:
        UserError: If a value is out of range or not finite.
    """
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    wanted = " and ".join(f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None)
    for name, value in values.items():
        if value is None:
            continue
        fits = (
            math.isfinite(value)
            and (at_least is None or value >= at_least)
            and (above is None or value > above)
            and (at_most is None or value <= at_most)
            and (below is None or value < below)
        )
        if not fits:
            needed = wanted if wanted and math.isfinite(value) else "a finite number"
            raise UserError(f"{plugin}: {name} is {value}, but must be {needed}")
