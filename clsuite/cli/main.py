"""The command line: parses, calls a command, and turns bad input into one line and exit status 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from clsuite.cli.commands import COMMANDS
from clsuite.errors import UserError

EXAMPLES = """examples:
  clsuite bench quickstart                          run a benchmark and see its table
  clsuite bench quickstart --methods ncm,lwf+replay compare some methods, or combinations of plugins
  clsuite bench my.yaml --data-root data --dry-run  see which runs it asks for, and which are done
  clsuite list plugins                              see the methods
  clsuite show runs/quickstart/ncm/seed0-….json     read a record
"""


class _Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and examples as they are written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 1 some run failed, 2 bad input, 130 interrupted)."""
    given = _parser().parse_args(list(sys.argv[1:] if arguments is None else arguments))
    name = given["command"]
    try:
        return COMMANDS[name].run(given[name])
    except UserError as error:
        print(f"clsuite {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; call it again to go on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="clsuite",
        description="Continual learning benchmarks for pre-trained vision models.",
        epilog=EXAMPLES,
        formatter_class=_Formatter,
    )
    subcommands = parser.add_subcommands(dest="command", metavar="{bench,list,show,pretrain}")
    for name, command in COMMANDS.items():
        examples = "examples:\n" + "".join(f"  {example}\n" for example in command.examples)
        sub = ArgumentParser(description=command.summary, epilog=examples, formatter_class=_Formatter)
        command.add_arguments(sub)
        subcommands.add_subcommand(name, sub, help=command.summary)
    return parser


if __name__ == "__main__":
    sys.exit(main())
