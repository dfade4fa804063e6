"""``clsuite work``: do the planned runs of a folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import (
    PATH,
    Command,
    add_options,
    allowed_by,
    allowing_arguments,
    flag,
    given_options,
)

PLANNED = "trackers, comma-separated, instead of the planned ones: csv, tensorboard, wandb, mlflow, or none"


def _arguments(parser: ArgumentParser) -> None:
    from clsuite.runner.options import BenchOptions

    add = parser.add_argument
    add("runs", type=PATH, help="a folder in which `clsuite bench` or `clsuite bench --plan-only` has planned runs")
    add_options(
        parser, BenchOptions, "data_root", "device", "jobs", "timeout", "stale_after", "no_feature_store", log=PLANNED
    )
    add(
        "--no-wait",
        action="store_true",
        help="end when others have claimed all remaining runs, instead of waiting for them",
    )
    add("--retry-failed", action="store_true", help="also repeat failed runs")
    allowing_arguments(parser)
    add(
        "--trust", action="store_true",
        help="execute the plugin files whose text is in the plan: anybody who can write to the folder can then execute "
        "code with your permissions",
    )  # fmt: skip


def _run(arguments: Namespace) -> int:
    from clsuite.cli.work import run_work
    from clsuite.runner.options import BenchOptions, checked

    options = checked(BenchOptions, given_options(arguments, BenchOptions), flag)
    return run_work(
        arguments.runs, options, allowed_by(arguments), arguments.trust, not arguments.no_wait, arguments.retry_failed
    )


COMMAND = Command(
    "Do planned runs of a folder that nobody has claimed: on another machine, in a container, over ssh.",
    (
        "clsuite bench quickstart --plan-only --out runs && clsuite work runs",
        "clsuite work /shared/runs --data-root /data --jobs 2",
        "clsuite work /shared/runs --no-wait",
        "clsuite work /shared/runs --log mlflow",
        "clsuite work /shared/runs --plugins-from ~/my_methods",
    ),
    _arguments,
    _run,
)
