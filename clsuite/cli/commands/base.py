"""What a command is, and what several of them read alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jsonargparse import ArgumentParser, Namespace

from clsuite.errors import UserError


@dataclass(frozen=True)
class Command:
    """A command: its one-line summary, examples, arguments, and what it does (it returns the exit status)."""

    summary: str
    examples: tuple[str, ...]
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


def whole_numbers(text: str | None) -> list[int]:
    """The whole numbers of a comma-separated option; none where it was not given.

    Raises:
        UserError: If they are none, or negative.
    """
    try:
        numbers = [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UserError(f"--seeds is '{text}', but must be whole numbers separated by commas, such as 0,1,2") from error
    if any(number < 0 for number in numbers):
        raise UserError(f"--seeds is '{text}', but a seed must not be negative")
    return numbers


def allowing_arguments(parser: ArgumentParser) -> None:
    """What commands that do a record's run again ask of their caller: a record alone is data."""
    parser.add_argument(
        "--plugins-from", type=str, action="append", default=[], metavar="FOLDER",
        help="a folder (may be given again) where files that a record names are looked for; their code is run",
    )  # fmt: skip
    parser.add_argument("--download", action="store_true", help="let data and weights that a record names be fetched")


def places_argument(parser: ArgumentParser) -> None:
    """The argument of commands that read records."""
    parser.add_argument("records", type=str, nargs="+", help="records, or folders with records anywhere below")
