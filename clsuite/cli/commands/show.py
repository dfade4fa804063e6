"""``clsuite show``: print a record."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import Command


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("record", type=str, help="path of the record")


def _run(given: Namespace) -> int:
    from clsuite.cli.show import print_record

    print_record(Path(given.record))
    return 0


COMMAND = Command(
    "Print a record: configuration, accuracy matrix, metrics and cost.",
    ("clsuite show runs/quickstart/replay/seed0-0123456789ab.json",),
    _arguments,
    _run,
)
