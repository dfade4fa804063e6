"""`clsuite tune`: searches with progress, runs with what was chosen, and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clsuite.cli.bench import report_runs
from clsuite.cli.console import make_console
from clsuite.cli.data_progress import loading_bar
from clsuite.cli.progress import BenchProgress
from clsuite.errors import UserError, did_you_mean
from clsuite.metrics import METRICS
from clsuite.records import RunRecord, TrialEntry, TuningEntry, reason_of, write_record
from clsuite.runner.bench import BenchStatus, run_missing, scan_results
from clsuite.runner.devices import count_cores, count_gpus, device_slots
from clsuite.runner.methods import MethodSpec, parse_method, write_method
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.record_config import tasks_learned
from clsuite.runner.spec import BenchmarkSpec, load_benchmark
from clsuite.tune.search import Search
from clsuite.tune.space import parse_space, points


@dataclass(frozen=True)
class TuneCall:
    """The arguments of `clsuite tune`, parsed."""

    benchmark: str
    method: str
    space: str
    trials: int
    tasks: int
    validation: float | None
    metric: str
    search_seed: int | None
    sampler_seed: int
    seeds: list[int]
    out: Path
    data_root: Path | None
    device: str
    training: dict[str, Any]
    limit_tasks: int | None
    jobs: int | None
    timeout: float | None
    save_model: bool


def run_tune(call: TuneCall) -> int:
    """Search, and run with what was chosen.

    Returns:
        Exit status: 0 if every final run is done, 1 if one failed.

    Raises:
        UserError: If the input is bad, or no trial finished.
    """
    console, warnings = make_console(), make_console(stderr=True)
    _check_numbers(call)
    spec, path = load_benchmark(call.benchmark)
    _check_tasks(call.tasks, tasks_learned(spec, call.limit_tasks))
    slots = device_slots(call.device, call.jobs, spec.training.threads, count_gpus(), count_cores())
    options = _options(call)
    search = _search(call, spec, path.parent)
    with loading_bar(warnings):
        make_plan(spec.model_copy(update={"methods": {search.name: search.method}}), path.parent, options)
    trials = min(call.trials, points(parse_space(call.space)) or call.trials)
    with _TrialProgress(console, trials) as progress:

        def do(plans: Sequence[RunPlan]) -> list[RunRecord]:
            return list(run_missing(_stock(plans, warnings), slots, call.timeout, progress.hear).values())

        tuning = search.run(options, do, progress.show)
    label = METRICS[call.metric].label
    console.print(f"chosen: {_values(tuning.chosen)} ({label}, in % on validation images)", soft_wrap=True)
    plans = search.final_plans(options, tuning)
    standing = _stock(plans, warnings)
    with BenchProgress(console, len(standing.missing), len(standing.done)) as bars:
        outcomes = run_missing(standing, slots, call.timeout, bars.hear)
    _keep_search(standing, tuning, warnings)
    return report_runs(console, warnings, spec, call.out, plans, outcomes)


def _stock(plans: Sequence[RunPlan], warnings: Console) -> BenchStatus:
    return scan_results(plans, lambda text: warnings.print(f"warning: {text}", soft_wrap=True))


def _keep_search(standing: BenchStatus, tuning: TuningEntry, warnings: Console) -> None:
    """Tell of the search in final records that were done before, after an earlier search with the same outcome."""
    for path, record in standing.done.items():
        try:
            if record.tuning != tuning:
                write_record(record.model_copy(update={"tuning": tuning}), path)
        except UserError as error:
            warnings.print(f"warning: the search is not noted: {error}", soft_wrap=True)


def _search(call: TuneCall, spec: BenchmarkSpec, folder: Path) -> Search:
    name, method = _method(call, spec)
    seeds = call.seeds or spec.seeds
    return Search(
        spec=spec,
        folder=folder,
        name=name,
        method=method,
        space=call.space,
        trials=call.trials,
        tasks=call.tasks,
        seed=seeds[0] if call.search_seed is None else call.search_seed,
        metric=call.metric,
        validation=call.validation,
        sampler_seed=call.sampler_seed,
    )


def _method(call: TuneCall, spec: BenchmarkSpec) -> tuple[str, MethodSpec]:
    if call.method in spec.named_methods:
        return call.method, spec.named_methods[call.method]
    method = parse_method(call.method)
    return write_method(method), method


def _options(call: TuneCall) -> RunOptions:
    return RunOptions(
        out=call.out,
        data_root=call.data_root,
        seeds=call.seeds,
        training=call.training,
        limit_tasks=call.limit_tasks,
        device=call.device,
        save_model=call.save_model,
    )


def _check_numbers(call: TuneCall) -> None:
    for name, value in (
        ("--trials", call.trials),
        ("--tasks", call.tasks),
        ("--limit-tasks", call.limit_tasks),
        ("--epochs", call.training.get("epochs")),
        ("--jobs", call.jobs),
    ):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}, but must be at least 1")
    if call.timeout is not None and not call.timeout > 0:
        raise UserError(f"--timeout is {call.timeout}, but must be more than 0 seconds")
    if call.validation is not None and not 0 < call.validation < 1:
        raise UserError(f"--validation is {call.validation}, but must be a share between 0 and 1")
    if call.metric not in METRICS:
        raise did_you_mean("metric", call.metric, METRICS)


def _check_tasks(searched: int, learned: int | None) -> None:
    """A search on tasks that no final run learns would choose for another stream."""
    if learned is not None and searched > learned:
        raise UserError(f"--tasks is {searched}, but the final runs learn {learned} tasks only: give --tasks {learned}")


class _TrialProgress:
    """A bar over all trials in a terminal, and a line per trial."""

    def __init__(self, console: Console, trials: int) -> None:
        self._console, self._trials = console, trials
        self._shares: dict[Path, float] = {}
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._finished = 0

    def __enter__(self) -> _TrialProgress:
        self._bar.start()
        self._task = self._bar.add_task("trials", total=self._trials, note=f"0 of {self._trials}")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def hear(self, plan: RunPlan, event: dict[str, Any]) -> None:
        """Take an event of the pool."""
        if event["kind"] == "warning":
            self._console.print(f"warning: {event['text']}", soft_wrap=True)
            return
        self._shares[plan.record_path] = event.get("done", 1.0 if event["kind"] == "end" else 0.0)
        self._bar.update(self._task, completed=self._finished + sum(self._shares.values()))

    def show(self, number: int, trial: TrialEntry, record: RunRecord) -> None:
        """Tell of a finished trial."""
        self._finished, self._shares = number, {}
        self._bar.update(self._task, completed=number, note=f"{number} of {self._trials}")
        score = f"{100 * trial.score:.1f}" if trial.score is not None else f"failed: {reason_of(record)}"
        self._console.print(f"[{number} of {self._trials}] {_values(trial.values)}: {score}", soft_wrap=True)


def _values(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value!r}" for name, value in values.items()
    )
