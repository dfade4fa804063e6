"""``clsuite bench``: run a benchmark."""

from __future__ import annotations

from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import DEVICE, PATH, PATH_OR_NAME, Command, whole_numbers
from clsuite.errors import UserError

Precision = Literal["auto", "32", "bf16", "16"]


def _where(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=PATH, default="runs", help="folder for records, tables and plots")
    add("--data-root", type=PATH, help="folder in which data sets and weights are looked for")
    add("--device", type=DEVICE, default="auto", help="auto, cpu, cuda, cuda:N or mps")


def _arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "benchmark",
        type=PATH_OR_NAME,
        help="name of a benchmark (see `clsuite list benchmarks`), a YAML file, "
        "or a Python file whose make_benchmark(seed) gives an Avalanche benchmark",
    )
    add(
        "--methods",
        type=str,
        help="methods in place of the benchmark's: its names or plugins (a name, ./file.py or package.module:Class), "
        "joined by '+', comma-separated, each perhaps as NAME=METHOD; a list as an argument is a grid, a list that is "
        "meant has double brackets; "
        "'all' is every method that the benchmark names, its more_methods too",
    )
    add("--name", type=str, help="what tables and folders call the one method of --methods")
    add("--seeds", type=str, help="seeds in place of the benchmark's, comma-separated")
    _where(parser)
    add("--precision", type=Precision, help="auto is bf16 where the hardware has it natively, else 32")
    add("--epochs", type=int, help="epochs per task in place of the benchmark's")
    add(
        "--training",
        type=str,
        help="settings of the training in place of the benchmark's and the methods', such as "
        "'loss=local, optimizer.lr=0.003'",
    )
    _more_arguments(parser)


def _more_arguments(parser: ArgumentParser) -> None:
    """How long, how much at a time, and what is kept."""
    add = parser.add_argument
    add("--limit-tasks", type=int, help="learn only the first tasks of the stream, in place of the benchmark's")
    add("--eval-every", type=int, help="evaluate within tasks too, after each so many steps, on a part of the tests")
    add(
        "--curve-points",
        type=int,
        default=200,
        help="points of the loss curve, and of what plugins log, that are kept for each task, each the mean of as many "
        "steps; 0 keeps none (`clsuite plot --kind loss`)",
    )
    add("--jobs", type=int, help="runs at a time; by default as many as the cores carry")
    add(
        "--timeout",
        type=float,
        help="seconds after which a run is ended; the check of a method before the runs is ended after these too, and "
        "after 300 at most",
    )
    add("--save-model", action="store_true", help="keep each trained model beside its record")
    add("--dry-run", action="store_true", help="only list the runs and which are done")
    add("--debug", action="store_true", help="do the runs here, one after another, so that breakpoint() and pdb work")
    add("--force", action="store_true", help="do finished runs again")


def _methods(written: str | None, name: str | None) -> list[str]:
    """What stands behind ``--methods``, under the name of ``--name``."""
    from clsuite.runner.methods import parse_named, split_outside

    if name is None:
        return [written] if written else []
    parts = split_outside(written or "", ",")
    if len(parts) != 1 or parse_named(parts[0])[0]:
        raise UserError("--name names the one method of --methods; of several, write each as NAME=METHOD")
    quote = '"' if "'" in name else "'"
    return [f"{quote}{name}{quote}={parts[0]}"]


def _run(given: Namespace) -> int:
    from clsuite.cli.bench import BenchCall, run_bench
    from clsuite.runner.training import merged, read_settings

    overrides: dict[str, Any] = {"precision": given.precision, "epochs": given.epochs}
    single = {key: value for key, value in overrides.items() if value is not None}
    return run_bench(
        BenchCall(
            benchmark=given.benchmark,
            methods=_methods(given.methods, given.name),
            seeds=whole_numbers(given.seeds),
            out=given.out,
            data_root=given.data_root,
            device=given.device,
            training=merged(read_settings(given.training or ""), single),
            limit_tasks=given.limit_tasks,
            jobs=given.jobs,
            timeout=given.timeout,
            save_model=given.save_model,
            dry_run=given.dry_run,
            force=given.force,
            eval_every=given.eval_every,
            curve_points=given.curve_points,
            debug=given.debug,
        )
    )


COMMAND = Command(
    "Run a benchmark and show its table; finished runs are taken from their records.",
    (
        "clsuite bench quickstart",
        'clsuite bench quickstart --methods "ncm,lwf+replay(capacity=50)" --seeds 0,1',
        'clsuite bench quickstart --methods "./my_method.py(alpha=[0.1,0.3])+replay"',
        "clsuite bench quickstart --methods ./er_ace.py --name er-ace",
        "clsuite bench quickstart --methods all",
        "clsuite bench quickstart --methods pet --training 'loss=global, optimizer.lr=0.003'",
        "clsuite bench quickstart --methods ./my_method.py --seeds 0 --debug",
        "clsuite bench my.yaml --data-root data --out runs --dry-run",
        "clsuite bench quickstart --limit-tasks 2 --epochs 1 --methods finetune --save-model",
    ),
    _arguments,
    _run,
)
