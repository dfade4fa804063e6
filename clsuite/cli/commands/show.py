"""``clsuite show``: print a record or a method."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, Command


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "record", type=PATH, metavar="record|method", help="path of a record, or name or file of a plugin"
    )


def _run(given: Namespace) -> int:
    from clsuite.cli.show import print_record
    from clsuite.cli.show_plugin import is_plugin, print_plugin

    plugin = is_plugin(str(given.record))
    if plugin and (given.record.suffix == ".py" or not given.record.exists()):
        print_plugin(str(given.record))
    else:
        print_record(given.record)
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
