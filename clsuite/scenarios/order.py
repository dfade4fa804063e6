"""The order of classes, domains and data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clsuite.data.naming import called
from clsuite.data.stable_random import stable_random
from clsuite.errors import UserError, did_you_mean
from clsuite.scenarios.order_spec import NumpyOrder

Order = NDArray[np.int64]


def find_order(what: str, names: Sequence[str], order: str | Sequence[str] | NumpyOrder, seed: int) -> Order:
    """Indices into `names` in the requested order.

    Args:
        what: What is ordered, for messages and as the purpose of the random numbers: ``class`` or ``domain``.
        names: The names in the order of the data set.
        order: ``seed``, ``given``, a list of all names, or the permutation of NumPy's legacy generator.
        seed: Seed of the permutation for ``seed``.

    Raises:
        UserError: If a list misses a name, repeats one or has an unknown one; a class may also be named after its
            folder.
    """
    if order == "given":
        return np.arange(len(names))
    if order == "seed":
        return stable_random(seed, f"{what} order").permutation(len(names))
    if isinstance(order, NumpyOrder):
        return np.random.RandomState(order.numpy).permutation(len(names))
    position = {name: index for index, name in enumerate(names)}
    found = [_find(what, names, name) for name in order]
    for name in found:
        if found.count(name) > 1:
            raise UserError(f"scenario.order names the {what} '{name}' twice")
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"scenario.order lacks the {what} '{missing[0]}' ({len(missing)} of {len(names)} are missing)")
    return np.array([position[name] for name in found], dtype=np.int64)


def _find(what: str, names: Sequence[str], name: str) -> str:
    """Find a class or domain by its name or by the name of its folder."""
    found = called(name, names)
    if found is None and any(_same_number(name, other) for other in names):
        raise UserError(f"scenario.order names the {what} '{name}', but no {what} has this name: YAML has read a "
                        f"number; write the names in quotation marks ({_quoted(names)})")  # fmt: skip
    if found is None:
        raise did_you_mean(f"{what} in scenario.order:", name, names)
    return found


def _same_number(one: str, other: str) -> bool:
    """Whether two names are the same number in different notations: ``7`` and ``007``."""
    return one.isdecimal() and other.isdecimal() and int(one) in (int(other), _octal(other))


def _octal(name: str) -> int:
    """The value of digits after a leading zero in YAML 1.1; -1 if they are not octal."""
    return int(name, 8) if name.startswith("0") and not {*name} & {"8", "9"} else -1


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:2]) + ", ..."
