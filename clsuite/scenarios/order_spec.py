"""The order of classes, domains or data sets in a benchmark file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from clsuite.config.spec import LARGEST_SEED, Spec
from clsuite.errors import did_you_mean

WORDS = ("seed", "given")
MTIL = ("mtil_i", "mtil_ii")


class NumpyOrder(Spec):
    """The order of other code bases: ``numpy.random.RandomState(numpy).permutation(number)``.

    Attributes:
        numpy: The seed; PILOT, RanPAC and FeCAM use 1993.
    """

    numpy: int = Field(ge=0, le=LARGEST_SEED, strict=True)


def _checked(value: Any, words: tuple[str, ...]) -> Any:
    """An order as written, with readable error messages."""
    if isinstance(value, str):
        if value not in words:
            raise ValueError(str(did_you_mean("order", value, words)))
        return value
    if isinstance(value, list | tuple):
        return tuple(_name(name) for name in value)
    if isinstance(value, dict):
        seed = value.get("numpy")
        if (
            set(value) == {"numpy"}
            and isinstance(seed, int)
            and not isinstance(seed, bool)
            and 0 <= seed <= LARGEST_SEED
        ):
            return NumpyOrder(numpy=seed)
        raise ValueError(f"write {{numpy: SEED}} with a whole number from 0 to {LARGEST_SEED}, such as {{numpy: 1993}}")
    if isinstance(value, NumpyOrder):
        return value
    raise ValueError(f"write {', '.join(words)}, a list of all names, or {{numpy: 1993}}; not {value!r}")


def _name(value: Any) -> str:
    """A name in a list; whole numbers are names of digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{value!r} is not a name: write names that YAML takes for something else in quotation marks")


def _plain(value: Any) -> Any:
    return _checked(value, WORDS)


def _cross(value: Any) -> Any:
    return _checked(value, (*WORDS, *MTIL))


Order = Annotated[Literal["seed", "given"] | NumpyOrder | tuple[str, ...], BeforeValidator(_plain)]
CrossOrder = Annotated[
    Literal["seed", "given", "mtil_i", "mtil_ii"] | NumpyOrder | tuple[str, ...], BeforeValidator(_cross)
]
