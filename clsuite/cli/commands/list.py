"""``clsuite list``: list what there is."""

from __future__ import annotations

from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, Command

Things = Literal[
    "plugins", "methods", "benchmarks", "datasets", "scenarios", "backbones", "augmentations", "probes", "optimizers",
    "schedules",
]  # fmt: skip


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("what", type=Things, help="what to list; methods are plugins")
    parser.add_argument("--data-root", type=PATH, help="for datasets: say which of them are there, and what is missing")


def _run(given: Namespace) -> int:
    from clsuite.cli.listing import print_listing

    print_listing(given.what, given.data_root)
    return 0


COMMAND = Command(
    "List plugins, benchmarks, data sets, scenarios, probes, backbones, optimizers, schedules or augmentations.",
    ("clsuite list plugins", "clsuite list benchmarks", "clsuite list datasets --data-root data"),
    _arguments,
    _run,
)
