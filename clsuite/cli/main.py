"""The command line: parses, calls a command, and turns bad input into one line and exit status 2."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from clsuite.cli.commands import COMMANDS
from clsuite.cli.commands.base import ArgumentType, Command
from clsuite.cli.console import tell
from clsuite.cli.interruption import signals_interrupt, status_of
from clsuite.cli.output import lost_for, safe_output
from clsuite.cli.parse_errors import explain, refused_by_the_system
from clsuite.cli.warnings_shown import warnings_told
from clsuite.errors import UserError

EXAMPLES = """examples:
  clsuite bench quickstart                          run a benchmark and see its table
  clsuite bench quickstart --methods ncm,lwf+replay compare some methods, or combinations of plugins
  clsuite bench my.yaml --data-root data --dry-run  see which runs it asks for, and which are done
  clsuite list plugins                              see the methods
  clsuite new my_method                             begin a method of your own
  clsuite check ./my_method.py                      see what is wrong with it, and how to fix it
  clsuite show runs/quickstart/ncm/seed0-….json     read a record
"""


class _Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and examples as they are written."""


class _Parser(ArgumentParser):
    """Raises its complaints in place of printing them below the usage; those of values name their argument."""

    def add_argument(self, *names: str, **more: Any) -> Any:
        """Add an argument."""
        if isinstance(kind := more.get("type"), ArgumentType):
            name = names[-1]
            more["type"] = kind.of(name if name.startswith("-") else name.upper())
        return super().add_argument(*names, **more)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the complaint."""
        raise argparse.ArgumentError(None, message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0 done, 1 some run failed or not all output could be written, 2 bad input, 130 interrupted by
        Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    words = [*words[1:], "--help"] if words[:1] == ["help"] else words
    with safe_output() as out:
        status = _run(words)
        out.flush()
        if lost := lost_for(out):
            tell(f"clsuite: {lost}")
            return max(status, 1)
        return status


def _run(words: list[str]) -> int:
    name = words[0] if words and words[0] in COMMANDS else ""
    called = f"clsuite {name}".strip()
    try:
        with signals_interrupt():
            try:
                given = _parse(words)
            except SystemExit as error:  # of --help and --version
                return int(error.code or 0)
            with warnings_told():
                return _do(COMMANDS[given["command"]], given[given["command"]])
    except UserError as error:
        tell(f"{called}: {error}")
        return 2
    except KeyboardInterrupt as error:
        tell("interrupted: what is done is kept; call it again to go on from there")
        return status_of(error)


def _do(command: Command, given: Namespace) -> int:
    try:
        return command.run(given)
    except SystemExit as error:  # of somebody's plugin or stream; nothing of ours calls it
        raise UserError(f"something that was imported ended the program: sys.exit({error.code!r})") from error
    except OSError as error:  # of what is asked of the system in passing, such as whether a path is a file
        complaint = refused_by_the_system(error)
        if complaint is None:
            raise
        raise complaint from error


def _parse(words: list[str]) -> Namespace:
    if words.count("--") > 1:  # the parser makes lists of them
        raise UserError("'--' stands twice: it may stand once, before words that begin with '-'")
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
