"""``clsuite show``: print a record or a method."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, Command


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("record_or_method", type=PATH, help="path of a record, or name or file of a plugin")


def _run(arguments: Namespace) -> int:
    from clsuite.cli.show import print_record
    from clsuite.cli.show_plugin import is_plugin, print_plugin

    what = arguments.record_or_method
    if is_plugin(str(what)) and (what.suffix == ".py" or not what.exists()):
        print_plugin(str(what))
    else:
        print_record(what)
    return 0


COMMAND = Command(
    "Print a record (configuration, accuracy matrix, metrics, cost) or a method (what it does, arguments, hooks).",
    (
        "clsuite show runs/quickstart/replay/seed0-0123456789ab.json",
        "clsuite show replay",
        "clsuite show ./my_method.py",
    ),
    _arguments,
    _run,
)
