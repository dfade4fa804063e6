"""The base of every specification in YAML, on the command line and in Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator

from clsuite.config.error_text import NUMBER, WHOLE, Mistyped, shown

LARGEST_NUMBER = 2**53
"""Larger whole numbers are not exact in every JSON reader; no number here comes near."""

LARGEST_SEED = 2**32 - 1
"""Largest seed of NumPy's and scikit-learn's generators."""


class Spec(BaseModel):
    """Accepts no unknown keys, cannot be changed, and does not accept ``true`` as a number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: cls._checked_number(key, one) for key, one in value.items()}

    @classmethod
    def _checked_number(cls, key: Any, value: Any) -> Any:
        field = cls.model_fields.get(key) if isinstance(key, str) else None
        if field is None or not isinstance(value, int):
            return value
        taken = set(kinds(field.annotation))
        if isinstance(value, bool) and taken & {int, float} and bool not in taken:
            return Mistyped(shown(value), WHOLE if int in taken else NUMBER)
        if taken & {int, float} and abs(value) > LARGEST_NUMBER:
            return Mistyped(shown(value), f"must be at most {LARGEST_NUMBER}")
        return value


def kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation consists of."""
    yield annotation
    for argument in get_args(annotation):
        if isinstance(argument, type) or get_args(argument):
            yield from kinds(argument)
