"""What a command is, and what several of them read alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from clsuite.config.devices import checked_device
from clsuite.config.paths import home_or_name, home_path
from clsuite.config.spec import LARGEST_SEED
from clsuite.errors import UserError, shortened

if TYPE_CHECKING:
    from clsuite.runner.recorded_inputs import Allowed


@dataclass(frozen=True)
class Command:
    """A command: its one-line summary, examples, arguments, and what it does (it returns the exit status)."""

    summary: str
    examples: tuple[str, ...]
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


@dataclass(frozen=True)
class ArgumentType:
    """The type of an argument.

    Attributes:
        name: What ``--help`` calls it.
        read: Makes a value of a text.
        argument: The argument that has it, such as ``--out``, which complaints name.
    """

    name: str
    read: Callable[[str], Any]
    argument: str = field(default="", compare=False)

    def of(self, argument: str) -> ArgumentType:
        """This type, as that of an argument."""
        return replace(self, argument=argument)

    def __call__(self, text: str) -> Any:
        """Read a value.

        Raises:
            UserError: If it is none of this type.
        """
        try:
            return self.read(text)
        except UserError as error:
            raise UserError(f"{self.argument}: {error}" if self.argument else str(error)) from error

    def __str__(self) -> str:
        return self.name


PATH = ArgumentType("path", home_path)
PATH_OR_NAME = ArgumentType("path or name", home_or_name)
DEVICE = ArgumentType("device", checked_device)


def whole_numbers(text: str | None) -> list[int]:
    """The whole numbers of a comma-separated option; none where it was not given.

    Raises:
        UserError: If they are none, or negative.
    """
    try:
        numbers = [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UserError(
            f"--seeds is '{shortened(text or '')}', but must be whole numbers separated by commas, such as 0,1,2"
        ) from error
    if any(number < 0 for number in numbers):
        raise UserError(f"--seeds is '{text}', but a seed must not be negative")
    if any(number > LARGEST_SEED for number in numbers):
        raise UserError(f"--seeds is '{shortened(text or '')}', but a seed must be at most {LARGEST_SEED}")
    return numbers


def allowing_arguments(parser: ArgumentParser) -> None:
    """What commands that do a record's run again ask of their caller: a record alone is data."""
    parser.add_argument(
        "--plugins-from", type=PATH, action="append", default=[], metavar="FOLDER",
        help="a folder (may be given again) where files that a record names are looked for; their code is run",
    )  # fmt: skip
    parser.add_argument("--download", action="store_true", help="let data and weights that a record names be fetched")


def allowed_by(given: Namespace) -> Allowed:
    """What the caller of such a command lets a record bring about."""
    from clsuite.runner.recorded_inputs import Allowed

    return Allowed(tuple(given.plugins_from), given.download)


def places_argument(parser: ArgumentParser) -> None:
    """The argument of commands that read records."""
    parser.add_argument("records", type=PATH, nargs="+", help="records, or folders with records anywhere below")
