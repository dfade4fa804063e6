"""`clsuite tune`: searches with progress, runs with the chosen values, and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import TextColumn

from clsuite.api.progress import make_bars
from clsuite.cli.bench import do_runs, open_benchmark, report_runs
from clsuite.cli.console import make_console
from clsuite.cli.data_progress import loading_bar
from clsuite.cli.debugging import InView
from clsuite.metrics import METRICS
from clsuite.records import RunRecord, TrialEntry, reason_of
from clsuite.runner.bench import BenchStatus, Sharing, run_missing, scan_results
from clsuite.runner.devices import count_cores, count_gpus, device_slots
from clsuite.runner.executor import Listener
from clsuite.runner.executors.choice import chosen_executor, make_executor
from clsuite.runner.executors.spec import AnyExecutor
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.tuning.options import TuneOptions
from clsuite.tuning.search import keep_search, make_search
from clsuite.tuning.space import parse_space, points


def run_tune(benchmark: str, method: str, space: str, options: TuneOptions) -> int:
    """Search, and run with the chosen values.

    Args:
        benchmark: Name or file of the benchmark.
        method: One of its methods, or plugins.
        space: The search space.
        options: The options of the call.

    Returns:
        Exit status: 0 if every final run is done, 1 if one failed.

    Raises:
        UserError: If the input is invalid, or no trial finished.
    """
    console, warnings = make_console(), make_console(stderr=True)
    spec, path = open_benchmark(benchmark, options)
    chosen, threads = chosen_executor(spec, options), spec.training.threads
    search = make_search(spec, path.parent, method, space, options)
    with loading_bar(warnings):
        make_plan(spec.model_copy(update={"methods": {search.name: search.method}}), path.parent, options)
    trials = min(options.trials, points(parse_space(space)) or options.trials)

    def warn(text: str) -> None:
        warnings.print(f"warning: {text}", soft_wrap=True)

    with _TrialProgress(console, trials, console.is_terminal and chosen.kind != "debug") as progress:
        doer = _doer(console, chosen, options, threads, progress.on_event)

        def do(plans: Sequence[RunPlan]) -> list[RunRecord]:
            return list(doer(scan_results(plans, warn)).values())

        tuning = search.run(options, do, progress.show)
    label = METRICS[options.metric].label
    console.print(f"chosen: {values_text(tuning.chosen)} ({label}, in % on validation images)", soft_wrap=True)
    plans = search.final_plans(options, tuning)
    status = scan_results(plans, warn)
    outcomes = do_runs(console, status, chosen, options, threads)
    keep_search(status, tuning, warn)
    return report_runs(console, warnings, spec, options, plans, outcomes)


def _doer(
    console: Console, chosen: AnyExecutor, options: TuneOptions, threads: int, listener: Listener
) -> Callable[[BenchStatus], dict[Path, RunRecord]]:
    """A function that does the runs of trials with the chosen executor."""
    slots = device_slots(options.device, options.jobs, threads, count_gpus(), count_cores(), options.devices)
    sharing = Sharing(offered=chosen.kind == "slurm", stale_after=options.stale_after)
    if chosen.kind == "debug":
        view = InView(console, slots[0])
        return lambda status: run_missing(status, slots, None, view.on_event, view.executor, sharing)
    executor = make_executor(chosen, options, threads, slots, console.print)
    return lambda status: run_missing(status, slots, options.timeout, listener, executor, sharing)


class _TrialProgress:
    """A bar over all trials in a terminal, and a line per trial."""

    def __init__(self, console: Console, trials: int, has_bar: bool) -> None:
        self._console, self._trials = console, trials
        self._shares: dict[Path, float] = {}
        self._bar = make_bars(console, has_bar, TextColumn("trials"), transient=True)
        self._finished = 0

    def __enter__(self) -> _TrialProgress:
        self._bar.start()
        self._task = self._bar.add_task("trials", total=self._trials, note=f"0 of {self._trials}")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_event(self, plan: RunPlan, event: dict[str, Any]) -> None:
        """Handle an event of a run."""
        if event["kind"] == "warning":
            self._console.print(f"warning: {event['text']}", soft_wrap=True)
            return
        self._shares[plan.record_path] = event.get("done", 1.0 if event["kind"] in ("end", "elsewhere") else 0.0)
        self._bar.update(self._task, completed=self._finished + sum(self._shares.values()))

    def show(self, number: int, trial: TrialEntry, record: RunRecord) -> None:
        """Print a finished trial."""
        self._finished, self._shares = number, {}
        self._bar.update(self._task, completed=number, note=f"{number} of {self._trials}")
        score = f"{100 * trial.score:.1f}" if trial.score is not None else f"failed: {reason_of(record)}"
        self._console.print(f"[{number} of {self._trials}] {values_text(trial.values)}: {score}", soft_wrap=True)


def values_text(values: dict[str, Any]) -> str:
    """Chosen values on a line."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value!r}" for name, value in values.items()
    )
