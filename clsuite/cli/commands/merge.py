"""``clsuite merge``: merge folders of runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH, Command


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("into", type=PATH, help="the folder of runs to merge into; created if it does not exist")
    parser.add_argument("runs", type=PATH, nargs="+", help="folders of runs, which are not changed")


def _run(arguments: Namespace) -> int:
    from clsuite.cli.console import make_console
    from clsuite.records.merge import merge_runs
    from clsuite.report.format import counted

    merged = merge_runs(arguments.into, arguments.runs)
    summary = (
        f"{counted(len(merged.added), 'run')} added to {arguments.into}, {merged.same} there already with equal counts"
    )
    make_console().print(summary, soft_wrap=True)
    for line in merged.other:
        make_console(stderr=True).print(f"left where it is: {line}", soft_wrap=True)
    return 1 if merged.other else 0


COMMAND = Command(
    "Merge folders of runs from machines without a shared disk; finished runs are never overwritten.",
    ("clsuite merge runs /media/stick/runs", "clsuite merge all_runs runs_of_node1 runs_of_node2"),
    _arguments,
    _run,
)
