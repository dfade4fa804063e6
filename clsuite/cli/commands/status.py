"""``clsuite status``: show the progress of the runs of a folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, Command, NumberType, add_options
from clsuite.errors import UserError

EVERY = 5.0
"""Seconds between two updates."""


def _arguments(parser: ArgumentParser) -> None:
    from clsuite.runner.options import BenchOptions

    parser.add_argument("runs", type=PATH, help="a folder of runs, or of one benchmark")
    parser.add_argument("--watch", action="store_true", help="update the output until nothing is left to do")
    parser.add_argument(
        "--every", type=NumberType("--every", float), default=EVERY, help="seconds between two updates of --watch"
    )
    add_options(parser, BenchOptions, "stale_after")


def _run(arguments: Namespace) -> int:
    from clsuite.cli.status import run_status

    for name in ("every", "stale_after"):
        if not getattr(arguments, name) > 0:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}, but must be greater than 0")
    return run_status(arguments.runs, arguments.watch, arguments.every, arguments.stale_after)


COMMAND = Command(
    "Show the progress of the runs of a folder: done, running (where, progress, remaining time), waiting, failed.",
    ("clsuite status runs", "clsuite status /shared/runs --watch", "clsuite status runs/quickstart --watch --every 60"),
    _arguments,
    _run,
)
