"""The command line: parses, calls a command, and turns bad input into one line and exit status 2."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from typing import NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from clsuite.cli.commands import COMMANDS
from clsuite.cli.complaints import explain
from clsuite.cli.told import warnings_told
from clsuite.errors import UserError

EXAMPLES = """examples:
  clsuite bench quickstart                          run a benchmark and see its table
  clsuite bench quickstart --methods ncm,lwf+replay compare some methods, or combinations of plugins
  clsuite bench my.yaml --data-root data --dry-run  see which runs it asks for, and which are done
  clsuite list plugins                              see the methods
  clsuite new my_method                             begin a method of your own
  clsuite check ./my_method.py                      see what is wrong with it, and the mend
  clsuite show runs/quickstart/ncm/seed0-….json     read a record
"""


class _Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and examples as they are written."""


class _Parser(ArgumentParser):
    """Raises its complaints in place of printing them below the usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the complaint."""
        raise argparse.ArgumentError(None, message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 1 some run failed, 2 bad input, 130 interrupted)."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal or pipe that has no arrows gets question marks
        sys.stdout.reconfigure(errors="replace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    words = [*words[1:], "--help"] if words[:1] == ["help"] else words
    name = words[0] if words and words[0] in COMMANDS else ""
    try:
        given = _parse(words)
        with warnings_told():
            return COMMANDS[given["command"]].run(given[given["command"]])
    except UserError as error:
        print(f"{f'clsuite {name}'.strip()}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; call it again to go on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def _parse(words: list[str]) -> Namespace:
    parser, commands = _parser()
    try:
        return parser.parse_args(words)
    except argparse.ArgumentError as error:
        chosen, path, names = _chosen(words, parser, commands)
        shown = [action for action in chosen._actions if action.help != argparse.SUPPRESS]
        options = [option for action in shown for option in action.option_strings]
        raise explain(error.message, path, names, options) from error


def _chosen(
    words: list[str], parser: ArgumentParser, commands: Mapping[str, ArgumentParser]
) -> tuple[ArgumentParser, str, list[str]]:
    """The parser that the first words choose, those words, and the commands that may follow them."""
    chosen, path, names = parser, "", dict(commands)
    while words and words[0] in names:
        chosen, path, words = names[words[0]], f"{path} {words[0]}", words[1:]
        nested = [action for action in chosen._actions if isinstance(action, argparse._SubParsersAction)]
        names = dict(nested[0].choices) if nested else {}
    return chosen, path, list(names)


def _parser() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """The parser, and those of its commands."""
    parser = _Parser(
        prog="clsuite",
        version=importlib.metadata.version("clsuite"),
        description="Continual learning benchmarks for pre-trained vision models.",
        epilog=EXAMPLES,
        formatter_class=_Formatter,
    )
    subcommands = parser.add_subcommands(dest="command", metavar="{" + ",".join(COMMANDS) + "}")
    parsers: dict[str, ArgumentParser] = {}
    for name, command in COMMANDS.items():
        examples = "examples:\n" + "".join(f"  {example}\n" for example in command.examples)
        parsers[name] = _Parser(description=command.summary, epilog=examples, formatter_class=_Formatter)
        subcommands.add_subcommand(name, parsers[name], help=command.summary)
        command.add_arguments(parsers[name])  # afterwards, as it may add commands of its own
    return parser, parsers


if __name__ == "__main__":
    sys.exit(main())
