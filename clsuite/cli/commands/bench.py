"""``clsuite bench``: run a benchmark."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from clsuite.cli.commands.base import PATH_OR_NAME, Command, add_options, flag, given_options, whole_numbers
from clsuite.errors import UserError


def _arguments(parser: ArgumentParser) -> None:
    from clsuite.runner.options import BenchOptions

    add = parser.add_argument
    add(
        "benchmark",
        type=PATH_OR_NAME,
        help="name of a benchmark (see `clsuite list benchmarks`), a YAML file, "
        "or a Python file whose make_benchmark(seed) gives an Avalanche benchmark",
    )
    add(
        "--methods",
        help="methods, comma-separated: names in the benchmark, or plugins (a name, ./file.py or package.module:Class) "
        "joined by '+', optionally as NAME=METHOD; a list as an argument is a grid, an argument that is a list itself "
        "needs double brackets; 'all' stands for all methods of the benchmark, including its more_methods",
    )
    add("--name", help="name in tables and folders, if --methods is a single method")
    add_options(parser, BenchOptions, "seeds", "out", "data_root", "device", "devices")
    add("--orders", metavar="NUMBER", help=BenchOptions.model_fields["orders"].description)
    add_options(parser, BenchOptions, "order_budget", "rank_by")
    training_arguments(parser)
    add_options(parser, BenchOptions, "settings", "limit_tasks", "eval_every", "curve_points", "log")
    add_options(parser, BenchOptions, "jobs", "executor", "executor_options")
    add_options(parser, BenchOptions, "timeout", "save_model", "keep_states", "no_feature_store")
    add_options(parser, BenchOptions, "debug", "force")
    add_options(parser, BenchOptions, "stale_after")
    add("--plan-only", action="store_true", help="only write a plan of the runs, for workers: clsuite work OUT")
    leave = "return at once, and leave the runs to a process without a terminal or to jobs of Slurm"
    add("--detach", action="store_true", help=leave)
    add("--dry-run", action="store_true", help="only list the runs, and which of them are done")
    add(
        "--print-config",
        action="store_true",
        help="only print the benchmark with these options, as YAML that can be run",
    )


def training_arguments(parser: ArgumentParser) -> None:
    """Add the options of commands that train."""
    from clsuite.learner.options import TrainingSpec
    from clsuite.runner.options import BenchOptions

    add_options(
        parser,
        TrainingSpec,
        precision="auto is bf16 if the hardware supports it natively, otherwise 32",
        epochs="epochs per task, instead of the benchmark's",
    )
    parser.set_defaults(precision=None, epochs=None)
    add_options(parser, BenchOptions, "training")


def read_options(arguments: Namespace) -> dict[str, Any]:
    """The options of `bench` and `tune` from the command line, by the names of their fields, before validation.

    Raises:
        UserError: If a setting cannot be parsed.
    """
    from clsuite.learner.options import TrainingSpec
    from clsuite.runner.options import BenchOptions, checked
    from clsuite.runner.settings import read_assignments
    from clsuite.runner.training import merged, read_settings

    single = {
        name: getattr(arguments, name) for name in ("precision", "epochs") if getattr(arguments, name) is not None
    }
    checked(TrainingSpec, single, flag)
    return {
        **given_options(arguments, BenchOptions),
        "seeds": whole_numbers(arguments.seeds),
        "training": merged(read_settings(arguments.training or ""), single),
        "settings": read_assignments(arguments.settings),
        "executor_options": read_assignments(arguments.executor_options, "partition=gpu"),
    }


def _methods(written: str | None, name: str | None) -> list[str]:
    """The value of ``--methods``, under the name of ``--name``."""
    from clsuite.runner.methods import parse_named, split_outside

    if name is None:
        return [written] if written else []
    parts = split_outside(written or "", ",")
    if len(parts) != 1 or parse_named(parts[0])[0]:
        raise UserError("--name is for a single method; write several as NAME=METHOD")
    quote = '"' if "'" in name else "'"
    return [f"{quote}{name}{quote}={parts[0]}"]


def _run(arguments: Namespace) -> int:
    from clsuite.cli.bench import print_config, run_bench
    from clsuite.runner.options import BenchOptions, checked

    methods = _methods(arguments.methods, arguments.name)
    options = checked(BenchOptions, {**read_options(arguments), "methods": methods}, flag)
    if arguments.print_config:
        return print_config(arguments.benchmark, options)
    detached = arguments.words if arguments.detach else ()
    return run_bench(
        arguments.benchmark, options, "list" if arguments.dry_run else "plan" if arguments.plan_only else "", detached
    )


COMMAND = Command(
    "Run a benchmark and show its table; finished runs are read from their records.",
    (
        "clsuite bench quickstart",
        'clsuite bench quickstart --methods "ncm,lwf+replay(capacity=50)" --seeds 0,1',
        "clsuite bench quickstart --methods replay,lora --orders 20 --seeds 0,1 --rank-by worst",
        "clsuite bench quickstart --methods replay,lora --orders extreme --order-budget 15",
        'clsuite bench quickstart --methods "./my_method.py(alpha=[0.1,0.3])+replay"',
        "clsuite bench quickstart --methods ./er_ace.py --name er-ace",
        "clsuite bench quickstart --methods all",
        "clsuite bench quickstart --log csv,tensorboard",
        "clsuite bench quickstart --methods pet --training 'loss=global, optimizer.lr=0.003'",
        "clsuite bench quickstart --methods finetune --training 'optimizer.lr=[0.0001, 0.001]'",
        "clsuite bench quickstart --methods ./my_method.py --seeds 0 --debug",
        "clsuite bench quickstart --executor ray --executor-option address=auto --executor-option gpus=0.5",
        "clsuite bench quickstart --executor slurm --executor-option partition=gpu --executor-option time=240",
        "clsuite bench quickstart --set scenario.tasks=2 --set training.batch_size=16",
        "clsuite bench my.yaml --data-root data --out runs --dry-run",
        "clsuite bench my.yaml --devices 2",
        "clsuite bench quickstart --limit-tasks 2 --epochs 1 --methods finetune --save-model",
        "clsuite bench quickstart --methods replay --keep-states",
        "clsuite bench quickstart --plan-only --out runs && clsuite work runs",
        "clsuite bench quickstart --detach && clsuite status runs --watch",
        "clsuite bench quickstart --set seeds=[0] --print-config > mine.yaml",
    ),
    _arguments,
    _run,
)
