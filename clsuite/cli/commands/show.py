"""``clsuite show``: print a record."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, Command


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("record", type=PATH, help="path of the record")


def _run(given: Namespace) -> int:
    from clsuite.cli.show import print_record

    print_record(given.record)
    return 0


COMMAND = Command(
    "Print a record: configuration, accuracy matrix, metrics and cost.",
    ("clsuite show runs/quickstart/replay/seed0-0123456789ab.json",),
    _arguments,
    _run,
)
