"""``clsuite compare``: compare two methods."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, PATH_OR_NAME, Command, whole_numbers


def _arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("first", type=PATH_OR_NAME, help="a record, or a folder of one method's runs; with --runs the name of a method")
    add("second", type=PATH_OR_NAME, help="likewise")
    add("--runs", type=PATH, help="folder of a benchmark's runs in which the two methods are looked for")
    add("--seeds", type=str, help="only these seeds, comma-separated")


def _run(given: Namespace) -> int:
    from clsuite.cli.compare import print_comparison

    print_comparison(given.first, given.second, given.runs, whole_numbers(given.seeds))
    return 0


COMMAND = Command(
    "Compare two methods seed by seed: differences with intervals, an exact test, and a verdict in words.",
    (
        "clsuite compare runs/quickstart/replay runs/quickstart/finetune",
        "clsuite compare replay finetune --runs runs/quickstart --seeds 0,1",
    ),
    _arguments,
    _run,
)
