"""``clsuite tune``: choose hyper-parameters, never on a test part, and run with them."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from clsuite.cli.commands.base import DEVICE, PATH, PATH_OR_NAME, Command, whole_numbers
from clsuite.cli.commands.bench import Precision


def _arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("benchmark", type=PATH_OR_NAME, help="name of a benchmark (see `clsuite list benchmarks`), or a YAML file")
    add("--method", type=str, required=True, help="one of the benchmark's methods, or plugins as for `clsuite bench`")
    add(
        "--space",
        type=str,
        required=True,
        help="what to choose, of the plugins' arguments and the training options: NAME=[value, ...], or NAME= "
        "uniform, loguniform, int or logint (low, high); PLUGIN.NAME or training.NAME where several have the name",
    )
    add("--trials", type=int, default=20, help="trials at most; a space of fewer points is tried whole")
    add("--tasks", type=int, default=3, help="tasks that a trial learns, the first ones; their validation parts judge")
    add(
        "--validation", type=float, help="share of the training images held out in trials; else the benchmark's, or 0.1"
    )
    add("--metric", type=str, default="final_accuracy_macro", help="what is best, by its name in `clsuite show`")
    add("--search-seed", type=int, help="seed of the trials' stream and training; else the first of the seeds")
    add("--sampler-seed", type=int, default=0, help="seed of the proposals")
    add("--seeds", type=str, help="seeds of the final runs in place of the benchmark's, comma-separated")
    add("--out", type=PATH, default="runs", help="folder for records; those of trials go into its folder 'tuning'")
    add("--data-root", type=PATH, help="folder in which data sets and weights are looked for")
    add("--device", type=DEVICE, default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--precision", type=Precision, help="auto is bf16 where the hardware has it natively, else 32")
    add("--epochs", type=int, help="epochs per task in place of the benchmark's")
    add("--limit-tasks", type=int, help="learn only the first tasks of the stream in the final runs")
    add("--jobs", type=int, help="runs at a time; by default as many as the cores carry")
    add(
        "--timeout",
        type=float,
        help="seconds after which a run is ended; the check of a method before the runs is ended after these too, and "
        "after 300 at most",
    )
    add("--save-model", action="store_true", help="keep each model of the final runs beside its record")


def _run(given: Namespace) -> int:
    from clsuite.cli.tune import TuneCall, run_tune

    overrides = {"precision": given.precision, "epochs": given.epochs}
    return run_tune(
        TuneCall(
            benchmark=given.benchmark,
            method=given.method,
            space=given.space,
            trials=given.trials,
            tasks=given.tasks,
            validation=given.validation,
            metric=given.metric,
            search_seed=given.search_seed,
            sampler_seed=given.sampler_seed,
            seeds=whole_numbers(given.seeds),
            out=given.out,
            data_root=given.data_root,
            device=given.device,
            training={key: value for key, value in overrides.items() if value is not None},
            limit_tasks=given.limit_tasks,
            jobs=given.jobs,
            timeout=given.timeout,
            save_model=given.save_model,
        )
    )


COMMAND = Command(
    "Choose hyper-parameters on validation parts of the first tasks, and run with them; trials that are done are kept.",
    (
        'clsuite tune quickstart --method lwf --space "alpha=[0.1, 0.5, 1.0], lr=loguniform(1e-5, 1e-2)" --trials 12',
        'clsuite tune my.yaml --method ./my_method.py --space "my_method.alpha=uniform(0, 1), epochs=int(1, 3)"',
    ),
    _arguments,
    _run,
)
