"""The parser of the command line: argparse, with messages on one line that name the problem and the fix."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from clsuite.cli.commands import COMMANDS
from clsuite.cli.commands.base import ArgumentType
from clsuite.errors import UserError, did_you_mean, shortened

EXAMPLES = """examples:
  clsuite bench quickstart                          run a benchmark and see its table
  clsuite bench quickstart --methods ncm,lwf+replay compare some methods, or combinations of plugins
  clsuite bench my.yaml --data-root data --dry-run  list its runs, and which of them are done
  clsuite list plugins                              see the methods
  clsuite new my_method                             create a new method
  clsuite check ./my_method.py                      see what is wrong with it, and how to fix it
  clsuite show runs/quickstart/ncm/seed0-….json     read a record
"""
REQUIRED, VALUELESS = "the following arguments are required: ", "ignored explicit argument "
"""The beginnings of two of argparse's messages."""


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows examples as written, and defaults if there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        empty = action.default is None or action.default is False or action.default == []
        return action.help if empty else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A parser that raises its messages instead of printing them below the usage."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"exit_on_error": False, "allow_abbrev": False, "formatter_class": _Help, **arguments})

    def add_argument(self, *names: str, **more: Any) -> Any:
        """Add an argument; messages about its value will name it."""
        if isinstance(kind := more.get("type"), ArgumentType):
            name = names[-1]
            more["type"] = kind.of(name if name.startswith("-") else name.upper())
        return super().add_argument(*names, **more)

    def error(self, message: str) -> NoReturn:
        """Raise a message for which argparse has no exception."""
        if message.startswith(REQUIRED):
            first = message.removeprefix(REQUIRED).split(", ")[0]
            missing = first if first.startswith("-") else first.upper()
            raise UserError(f"{missing} is missing. Try: {self.prog} --help")
        raise UserError(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Check the name of a command; other arguments with fixed words are checked by their type."""
        if action.choices is not None and value not in action.choices:
            raise did_you_mean("command", str(value), action.choices)


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from clsuite import __version__

        print(f"clsuite {__version__}")
        parser.exit()


class _Completion(argparse.Action):
    """Prints a completion script."""

    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, __: Any = None) -> None:
        from clsuite.cli.completion import SHELLS, completion

        if shell not in SHELLS:
            raise did_you_mean("shell", str(shell), SHELLS)
        print(completion(shell, make_parser()))
        parser.exit()


def make_parser(only: str | None = None) -> Parser:
    """The parser of the whole command line.

    Args:
        only: The only command whose options are needed; all by default.
    """
    parser = Parser(
        prog="clsuite", description="Continual learning benchmarks for pre-trained vision models.", epilog=EXAMPLES
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    parser.add_argument(
        "--print-completion", action=_Completion, metavar="SHELL", help="print what completes words in bash or zsh"
    )
    commands = parser.add_subparsers(dest="command", metavar="{" + ",".join(COMMANDS) + "}")
    for name, command in COMMANDS.items():
        examples = "examples:\n" + "".join(f"  {example}\n" for example in command.examples)
        inner = commands.add_parser(name, help=command.summary, description=command.summary, epilog=examples)
        if only in (None, name):
            command.add_arguments(inner)
    return parser


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line.

    Raises:
        UserError: If it is not valid; says which word, and what may be meant.
        SystemExit: After ``--help`` and similar options.
    """
    if list(words).count("--") > 1:
        raise UserError("'--' is given twice: it may be once, before words that begin with '-'")
    first = next(iter(words), "")
    parser = make_parser(only=first)
    if first.startswith("-") and first.split("=")[0] not in _options_of(parser):
        raise _unknown(words, parser)  # before the word after it is taken for a command
    try:
        arguments, unknown = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise _explained(error) from error
    chosen = list(_chosen(parser, arguments))
    if unknown:
        raise _unknown(unknown, chosen[-1])
    inside = _commands_of(chosen[-1])
    if inside and getattr(arguments, inside.dest) is None:
        called = chosen[-1].prog
        raise UserError(f"say what to do: {called} {inside.metavar}. Try: {called} --help")
    arguments.words = list(words)
    return arguments


def _explained(error: argparse.ArgumentError) -> UserError:
    """The error for an invalid argument."""
    name, text = error.argument_name or "", error.message
    if text.startswith(VALUELESS):
        value = text.removeprefix(VALUELESS)[1:-1]
        return UserError(f"{name} takes no value, but '{shortened(value)}' is given")
    if text.startswith("expected "):
        return UserError(f"{name} needs a value")
    return UserError(f"{name}: {text}" if name else text)


def _unknown(words: Sequence[str], parser: argparse.ArgumentParser) -> UserError:
    """The error for unknown words; names unknown options first, since the other words may belong to them."""
    option = next((word for word in words if word.startswith("-") and word != "--"), None)
    if option is None:
        return UserError(f"unexpected argument '{shortened(words[-1])}'. Try: {parser.prog} --help")
    return did_you_mean("option", option.split("=")[0], _options_of(parser))


def _options_of(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]


def _commands_of(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[Any] | None:
    return next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)


def _chosen(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Iterator[argparse.ArgumentParser]:
    """The parser, the parser of the given command, and that of its subcommand."""
    yield parser
    inside = _commands_of(parser)
    name = getattr(arguments, inside.dest) if inside else None
    if inside and name is not None:
        yield from _chosen(inside.choices[name], arguments)
