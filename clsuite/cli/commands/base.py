"""The base of all commands, and the types of their arguments, with readable error messages."""

from __future__ import annotations

import types
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from clsuite.config.devices import checked_device
from clsuite.config.paths import home_or_name, home_path
from clsuite.errors import UserError, did_you_mean, shortened

if TYPE_CHECKING:
    from clsuite.config.spec import Spec
    from clsuite.runner.recorded_inputs import Allowed


@dataclass(frozen=True)
class Command:
    """A command: its one-line summary, examples, arguments, and the function that returns the exit status."""

    summary: str
    examples: tuple[str, ...]
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


@dataclass(frozen=True)
class ArgumentType:
    """The type of an argument that is a text of a certain form.

    Attributes:
        name: Description of the form.
        read: Converts a text to a value.
        argument: The argument with this type, such as ``--out``, for error messages.
    """

    name: str
    read: Callable[[str], Any]
    argument: str = field(default="", compare=False)

    def of(self, argument: str) -> ArgumentType:
        """This type for a certain argument."""
        return replace(self, argument=argument)

    def __call__(self, text: str) -> Any:
        """Convert a text.

        Raises:
            UserError: If it does not have the form.
        """
        try:
            return self.read(text)
        except UserError as error:
            raise UserError(f"{self.argument}: {error}" if self.argument else str(error)) from error


PATH = ArgumentType("path", home_path)
PATH_OR_NAME = ArgumentType("path or name", home_or_name)
DEVICE = ArgumentType("device", checked_device)


TOO_LONG = "Exceeds the limit"
"""The beginning of Python's message for numbers with thousands of digits."""


@dataclass(frozen=True)
class NumberType:
    """The type of a numeric option."""

    option: str
    kind: type[int] | type[float]

    def __call__(self, text: str) -> int | float:
        """Convert the text of the option."""
        try:
            return self.kind(text)
        except ValueError as error:
            if str(error).startswith(TOO_LONG):
                raise UserError(f"{self.option}: the number has too many digits") from error
            need = "a whole number" if self.kind is int else "a number"
            raise UserError(f"{self.option} is '{shortened(text)}', but must be {need}") from error


@dataclass(frozen=True)
class WordType:
    """The type of an argument with a fixed set of values."""

    what: str
    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """Check the value."""
        if text not in self.words:
            raise did_you_mean(self.what, text, self.words)
        return text


def add_word(parser: ArgumentParser, name: str, words: Sequence[str], **more: Any) -> None:
    """Add an argument with a fixed set of values."""
    parser.add_argument(name, type=WordType(name.lstrip("-"), tuple(words)), choices=words, **more)


FLAGS = {"settings": "--set", "executor_options": "--executor-option"}
"""Options whose names on the command line and in Python differ."""


def flag(name: str) -> str:
    """The name of an option on the command line."""
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def add_options(parser: ArgumentParser, model: type[Spec], *names: str, **words: str) -> None:
    """Add options for the fields of a model.

    Args:
        parser: The parser of the command.
        model: The model, which defines type, default and description of each option.
        names: The fields.
        words: Descriptions for ``--help`` that replace those of the model.
    """
    for name in (*names, *words):
        option = model.model_fields[name]
        arguments: dict[str, Any] = {"help": words.get(name, option.description), "dest": name}
        default = option.get_default(call_default_factory=True)
        kind = _kind_of(option.annotation)
        if kind is bool:
            parser.add_argument(flag(name), action="store_true", **arguments)
        elif name in FLAGS:
            parser.add_argument(flag(name), action="append", default=[], metavar="KEY=VALUE", **arguments)
        elif get_origin(kind) is Literal:
            add_word(parser, flag(name), get_args(kind), **arguments)
        else:
            shown = default if isinstance(default, int | float | str | Path) else None
            parser.add_argument(flag(name), type=_type_of(flag(name), kind), default=shown, **arguments)


def _kind_of(annotation: Any) -> Any:
    """The type of a field without None and constraints."""
    if get_origin(annotation) is Annotated:
        return _kind_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return next(_kind_of(member) for member in get_args(annotation) if member is not type(None))
    return annotation


def _type_of(option: str, kind: Any) -> Any:
    """The argument type of an option; values other than numbers, paths and devices are parsed by their command."""
    if kind in (int, float):
        return NumberType(option, kind)
    if kind is Path:
        return PATH
    return DEVICE if option == "--device" else str


def given_options(arguments: Namespace, model: type[Spec]) -> dict[str, Any]:
    """The options of a model that were passed on the command line."""
    return {name: getattr(arguments, name) for name in model.model_fields if getattr(arguments, name, None) is not None}


def whole_numbers(text: str | None) -> list[int]:
    """The whole numbers of a comma-separated option; empty if it was not passed.

    Raises:
        UserError: If a value is not a whole number, or is negative.
    """
    from clsuite.config.spec import LARGEST_SEED

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
    """Add the options by which callers allow a record's code and files to be used, for commands that repeat a run."""
    parser.add_argument(
        "--plugins-from", type=PATH, action="append", default=[], metavar="FOLDER",
        help="a folder with the files of a record's plugins, whose code is executed; may be repeated",
    )  # fmt: skip
    parser.add_argument("--download", action="store_true", help="allow downloads of a record's data and weights")


def allowed_by(arguments: Namespace) -> Allowed:
    """What the caller allows a record to use, from these options."""
    from clsuite.runner.recorded_inputs import Allowed

    return Allowed(tuple(arguments.plugins_from), arguments.download)


def places_argument(parser: ArgumentParser) -> None:
    """Add the argument of commands that read records."""
    parser.add_argument("records", type=PATH, nargs="+", help="records, or folders with records at any depth")
