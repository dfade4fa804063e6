"""``clsuite leaderboard``: publish records and create the leaderboard from them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from clsuite.cli.commands.base import (
    DEVICE,
    PATH,
    PATH_OR_NAME,
    Command,
    add_options,
    allowed_by,
    allowing_arguments,
    flag,
    given_options,
)

SUMMARIES = {
    "add": "publish finished records, after checking each",
    "submit": "make a branch with finished records, after checking each, and the text of a pull request",
    "build": "generate the README, the page, the CSV and the JSON from the published records",
    "check": "generate everything in memory, and fail if a published file differs or a row was lost",
    "rerun": "repeat published runs from their records alone, and compare the counts",
    "audit": "check submitted records by sampling: learn some tasks again from stored states, and compare",
    "confirm": "run a short canary of each stale method with the sources of its rows, from the repository's history, "
    "and with the current sources; if all counts are equal, the rows are current again",
}
EXAMPLES = (
    "clsuite leaderboard add runs/quickstart --data-root data",
    "clsuite leaderboard submit runs/quickstart/my_method --data-root data --dry-run",
    "clsuite leaderboard submit runs/quickstart/my_method --states https://example.org/states.tar",
    "clsuite leaderboard build && clsuite leaderboard check",
    "clsuite leaderboard build --drop quickstart/ncm/0",
    "clsuite leaderboard rerun quickstart/replay/0",
    "clsuite leaderboard rerun 'pacs/*/0' --data-root data",
    "clsuite leaderboard rerun 'quickstart/**' --dry-run",
    "clsuite leaderboard audit runs/quickstart/my_method --states runs --share 0.1",
    "clsuite leaderboard confirm ncm 'quickstart/*/0'",
)


def _examples(action: str) -> str:
    """The examples of an action."""
    return "Example: " + "; ".join(line for line in EXAMPLES if f"leaderboard {action}" in line)


def _arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="{" + ",".join(SUMMARIES) + "}")
    for name, summary in SUMMARIES.items():
        action = actions.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=_examples(name)
        )
        ARGUMENTS[name](action)
        action.add_argument("--folder", type=PATH, default=Path("leaderboard"), help="folder of the leaderboard")


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("records", type=PATH, nargs="+", help="records, or folders with records at any depth")
    add("--data-root", type=PATH, help="folder of data, with which the records' streams are compared")
    add(
        "--plugins-from", type=PATH, action="append", default=[], metavar="FOLDER",
        help="a folder (may be given again) of methods that are files: published with their rows, and not run",
    )  # fmt: skip
    add("--replace", action="store_true", help="replace other runs of the same method and seed")
    add("--stale", action="store_true", help="also publish runs of earlier plugin sources, marked as stale")


def _submit_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("records", type=PATH, nargs="+", help="records, or folders with records at any depth")
    add("--data-root", type=PATH, help="folder of data, with which the records' streams are compared")
    add(
        "--plugins-from", type=PATH, action="append", default=[], metavar="FOLDER",
        help="a folder (may be given again) of methods that are files: submitted with their rows, and not run",
    )  # fmt: skip
    add(
        "--states", dest="states_at", type=str, default=None, metavar="URL_OR_PATH",
        help="where the states of the runs are (--keep-states), which the text then says, for their audit: the address "
        "of a tar file, or a path",
    )  # fmt: skip
    add("--dry-run", action="store_true", help="check the records and show the text, but make no branch")


def _build_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--drop", type=str, nargs="+", default=[], help="rows (BENCHMARK/METHOD/SEED) that may be missing"
    )


def _rerun_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "rows",
        type=str,
        nargs="+",
        help="rows (BENCHMARK/METHOD/SEED), or patterns such as 'quickstart/*/0'; '*' stops at '/', '**' does not",
    )
    add("--dry-run", action="store_true", help="only list the rows that would be repeated")
    add("--data-root", type=PATH, help="folder of data and weights")
    add("--device", type=DEVICE, help="cpu, cuda, ...; by default the kind that the run was made on")
    add(
        "--benchmark",
        type=PATH_OR_NAME,
        help="the benchmark's file where it is not a shipped one and has probes of its own",
    )
    allowing_arguments(parser)


def _audit_arguments(parser: ArgumentParser) -> None:
    from clsuite.runner.options import AuditOptions

    add = parser.add_argument
    add("records", type=PATH, nargs="+", help="records, or folders with records at any depth")
    add("--states", type=PATH, help="folder with the states of the runs, at any depth; by default beside the records")
    add_options(parser, AuditOptions, "share", "seed", "images", "steps")
    add("--data-root", type=PATH, help="folder of data and weights")
    add("--device", type=DEVICE, help="cpu, cuda, ...; by default the kind that the runs were made on")
    allowing_arguments(parser)


def _confirm_arguments(parser: ArgumentParser) -> None:
    from clsuite.runner.options import BenchOptions

    add = parser.add_argument
    add(
        "rows", type=str, nargs="*", default=[],
        help="benchmarks, methods, rows (BENCHMARK/METHOD/SEED), or patterns such as 'quickstart/*/0'; by default all",
    )  # fmt: skip
    add("--data-root", type=PATH, help="folder of data, for canaries that need data")
    add_options(parser, BenchOptions, "jobs")


def _no_arguments(parser: ArgumentParser) -> None:
    """Add nothing: the action has no arguments of its own."""


ARGUMENTS: dict[str, Callable[[ArgumentParser], None]] = {
    "add": _add_arguments,
    "submit": _submit_arguments,
    "build": _build_arguments,
    "check": _no_arguments,
    "rerun": _rerun_arguments,
    "audit": _audit_arguments,
    "confirm": _confirm_arguments,
}


def _run(arguments: Namespace) -> int:
    from clsuite.cli import leaderboard
    from clsuite.cli.audit import audit
    from clsuite.runner.options import AuditOptions, BenchOptions, checked

    folder, root = arguments.folder, getattr(arguments, "data_root", None)
    if arguments.action == "add":
        return leaderboard.add(
            arguments.records, folder, root, arguments.replace, arguments.stale, arguments.plugins_from
        )
    if arguments.action == "submit":
        return leaderboard.submit(
            arguments.records, folder, root, arguments.plugins_from, arguments.dry_run, arguments.states_at or ""
        )
    if arguments.action == "build":
        return leaderboard.build(folder, arguments.drop)
    if arguments.action == "rerun":
        return leaderboard.rerun(
            arguments.rows,
            folder,
            root,
            arguments.device,
            arguments.benchmark,
            allowed_by(arguments),
            arguments.dry_run,
        )
    if arguments.action == "audit":
        options = checked(AuditOptions, given_options(arguments, AuditOptions), flag)
        return audit(
            arguments.records, folder, arguments.states, root, arguments.device, allowed_by(arguments), options
        )
    if arguments.action == "confirm":
        jobs = checked(BenchOptions, {"jobs": arguments.jobs}, flag).jobs
        return leaderboard.confirm(arguments.rows, folder, root, jobs)
    return leaderboard.check(folder)


COMMAND = Command(
    "Publish records and generate the leaderboard from them.",
    EXAMPLES,
    _arguments,
    _run,
)
