"""Validation errors of pydantic in plain words: what was given and what is expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from clsuite.errors import printable

LONGEST_VALUE = 60
Context = Mapping[str, Any]

WHOLE, NUMBER, SWITCH = "must be a whole number", "must be a number", "must be true or false"
TEXT = "must be text: write it in quotation marks"
LIST = "must be a list, such as [{given}]"
MAPPING = "must be a mapping, such as {{{key}: ...}}"

NEEDS: dict[str, str] = {
    "int_type": WHOLE, "int_parsing": WHOLE, "int_from_float": WHOLE,
    "int_parsing_size": "must be a smaller number",
    "float_type": NUMBER, "float_parsing": NUMBER, "finite_number": "must be a finite number",
    "bool_type": SWITCH, "bool_parsing": SWITCH,
    "string_type": TEXT, "string_sub_type": TEXT, "string_unicode": "must be text in UTF-8",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must be written as the pattern {pattern} says",
    "literal_error": "must be {expected}", "enum": "must be {expected}",
    "greater_than": "must be more than {gt}", "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}", "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "too_short": "must have at least {min_length} entries", "too_long": "must have at most {max_length} entries",
    "tuple_type": LIST, "list_type": LIST, "iterable_type": LIST, "set_type": LIST, "frozen_set_type": LIST,
    "dict_type": MAPPING, "mapping_type": MAPPING, "model_type": MAPPING, "model_attributes_type": MAPPING,
    "dataclass_type": MAPPING, "is_instance_of": MAPPING,
    "union_tag_invalid": "must have {discriminator} {expected_tags}",
    "none_required": "must be empty", "invalid_key": TEXT, "date_type": "must be a date",
    "bytes_type": TEXT, "recursion_loop": "must not hold itself",
}  # fmt: skip
"""What is expected, by the type of pydantic's error; ``{...}`` come from its context, ``given`` is the value.

An error of a type that is not here is reported in pydantic's words, without its address.
"""
PHRASES: dict[str, str] = {
    "missing": "{where} is missing",
    "missing_argument": "{where} is missing",
    "union_tag_not_found": "{where} must say {discriminator}",
    "extra_forbidden": "{where} is not known here",
    "unexpected_keyword_argument": "{where} is not known here",
}
"""Whole sentences, where it does not help to repeat the value."""


@dataclass(frozen=True)
class Mistyped:
    """Replaces a value that pydantic would convert but that must be refused.

    Attributes:
        given: The value as written.
        need: What is expected.
    """

    given: str
    need: str


def in_words(error: ErrorDetails, where: str, key: str = "name") -> str:
    """One mistake as one line.

    Args:
        error: An error of a `ValidationError`.
        where: Name of the place of the mistake, such as ``training.epochs``.
        key: A key of the expected mapping, if a mapping is expected.

    Returns:
        For example ``training.epochs is 'two', but must be a whole number``.
    """
    limits = {name: _whole(limit) for name, limit in error.get("ctx", {}).items()}
    kind, context = error["type"], {**limits, "where": where, "key": key}
    if kind in PHRASES:
        return PHRASES[kind].format_map(context)
    if kind in ("value_error", "assertion_error"):
        message = printable(error["msg"].partition(" error, ")[2] or error["msg"])
        return f"{where}: {message}"
    if isinstance(error["input"], Mistyped):
        return f"{where} is {error['input'].given}, but {error['input'].need}"
    given = shown(error["input"])
    need = NEEDS[kind].format_map({**context, "given": given}) if kind in NEEDS else _foreign(error["msg"])
    return f"{where} is {given}, but {need}{_near(error)}"


def first_mistake(error: ValidationError, whole: str, prefix: str = "") -> str:
    """The first mistake of a validation, as one line.

    Args:
        error: What pydantic raised.
        whole: Name of the whole value, used if that is wrong.
        prefix: Put before the place of a mistake.
    """
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return in_words(first, printable(f"{prefix}{where}" if where else whole))


def shown(value: Any) -> str:
    """A value as in YAML, on one line and of limited length."""
    words: dict[Any, str] = {None: "empty", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    write: Callable[[Any], str] = repr if isinstance(value, str | int | float | list | tuple | dict) else str
    try:
        text = printable(write(value))
    except (ValueError, RecursionError):  # a number of thousands of digits, or what holds itself
        return "too long to be shown"
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


def _whole(limit: Any) -> Any:
    """A limit without the ``.0`` of a whole number."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _near(error: ErrorDetails) -> str:
    """The nearest of the allowed words."""
    if error["type"] != "literal_error" or not isinstance(error["input"], str):
        return ""
    known = re.findall(r"'([^']+)'", str(error.get("ctx", {}).get("expected", "")))
    near = difflib.get_close_matches(error["input"], known, n=1)
    return f". Did you mean '{near[0]}'?" if near else ""


def _foreign(message: str) -> str:
    return f"is not right: {printable(message.removeprefix('Input should be '))}"
