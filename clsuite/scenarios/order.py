"""The order of classes, domains and data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clsuite.data.stable_random import stable_random
from clsuite.errors import UserError, did_you_mean

Order = NDArray[np.int64]


def find_order(what: str, names: Sequence[str], order: str | Sequence[str], seed: int) -> Order:
    """Indices into `names` in the order asked for.

    Args:
        what: What is ordered, for people and as the purpose of the random numbers: ``class`` or ``domain``.
        names: As the data set lists them.
        order: ``seed``, ``given``, or all names in their order.
        seed: Of the permutation.

    Raises:
        UserError: If a list of names lacks one, has one twice or one that there is not.
    """
    if order == "given":
        return np.arange(len(names))
    if order == "seed":
        return stable_random(seed, f"{what} order").permutation(len(names))
    for name in order:
        if name not in names:
            raise did_you_mean(f"{what} in scenario.order:", name, names)
        if list(order).count(name) > 1:
            raise UserError(f"scenario.order names the {what} '{name}' twice")
    missing = [name for name in names if name not in order]
    if missing:
        raise UserError(f"scenario.order lacks the {what} '{missing[0]}' ({len(missing)} of {len(names)} are missing)")
    position = {name: index for index, name in enumerate(names)}
    return np.array([position[name] for name in order], dtype=np.int64)
