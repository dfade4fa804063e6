"""``clsuite tune``: select hyperparameters, never on a test part, and run with them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import PATH_OR_NAME, Command, add_options, flag, given_options
from clsuite.cli.commands.bench import read_options, training_arguments


def _arguments(parser: ArgumentParser) -> None:
    from clsuite.tuning.options import TuneOptions

    add = parser.add_argument
    add("benchmark", type=PATH_OR_NAME, help="name of a benchmark (see `clsuite list benchmarks`), or a YAML file")
    add("--method", required=True, help="one of the benchmark's methods, or plugins as for `clsuite bench`")
    add(
        "--space",
        required=True,
        help="search space of arguments of plugins and training options: NAME=[value, ...], or NAME= uniform, "
        "loguniform, int or logint (low, high); PLUGIN.NAME or training.NAME if a name is not unique",
    )
    add_options(parser, TuneOptions, "trials", "tasks", "validation", "metric", "search_seed", "sampler_seed")
    add_options(
        parser,
        TuneOptions,
        seeds="seeds of the final runs, comma-separated, instead of the benchmark's",
        out="folder for records; those of trials are in its subfolder 'tuning'",
    )
    add_options(parser, TuneOptions, "data_root", "device", "devices")
    training_arguments(parser)
    add_options(parser, TuneOptions, "settings", "jobs", "executor", "executor_options")
    add_options(parser, TuneOptions, "timeout", "stale_after", "curve_points", "no_feature_store", "log")
    add_options(
        parser,
        TuneOptions,
        limit_tasks="use only the first tasks of the stream in the final runs",
        save_model="save the model of each final run beside its record",
        keep_states="keep the state after each task of each final run, and its hash in the record, for audits",
        debug="do trials and runs in this process, one after another, so that breakpoint() and pdb work",
    )


def _run(arguments: Namespace) -> int:
    from clsuite.cli.tune import run_tune
    from clsuite.runner.options import checked
    from clsuite.tuning.options import TuneOptions

    options = checked(TuneOptions, {**given_options(arguments, TuneOptions), **read_options(arguments)}, flag)
    return run_tune(arguments.benchmark, arguments.method, arguments.space, options)


COMMAND = Command(
    "Select hyperparameters on validation parts of the first tasks, and run with them; finished trials are reused.",
    (
        'clsuite tune quickstart --method lwf --space "alpha=[0.1, 0.5, 1.0], lr=loguniform(1e-5, 1e-2)" --trials 12',
        'clsuite tune my.yaml --method ./my_method.py --space "my_method.alpha=uniform(0, 1), epochs=int(1, 3)"',
        'clsuite tune quickstart --method ./my_method.py --space "alpha=[0.1, 0.5]" --trials 1 --debug',
    ),
    _arguments,
    _run,
)
