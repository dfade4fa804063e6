"""`clsuite bench`: plans, runs with progress, and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from clsuite.cli.console import counted, make_console, table_width
from clsuite.cli.data_progress import loading_bar
from clsuite.cli.debugging import InView, refuse_beside_debug
from clsuite.cli.failures import advise_debug, tell_failures
from clsuite.cli.progress import BenchProgress
from clsuite.errors import AbsentError, UserError
from clsuite.records import RunRecord
from clsuite.records.curves import POINTS
from clsuite.report.summary import columns_of, summarize
from clsuite.report.table import probes_table, results_table, within_task_table
from clsuite.runner.bench import BenchStatus, forget, run_missing, scan_results
from clsuite.runner.devices import count_cores, count_gpus, device_slots
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.resolve import outline
from clsuite.runner.spec import BenchmarkSpec, lines_told, load_benchmark


@dataclass(frozen=True)
class BenchCall:
    """The arguments of `clsuite bench`, parsed."""

    benchmark: str
    methods: list[str]
    seeds: list[int]
    out: Path
    data_root: Path | None
    device: str
    training: dict[str, Any]
    limit_tasks: int | None
    jobs: int | None
    timeout: float | None
    save_model: bool
    dry_run: bool
    force: bool
    eval_every: int | None = None
    curve_points: int = POINTS
    debug: bool = False


def run_bench(call: BenchCall) -> int:
    """Run a benchmark.

    Returns:
        Exit status: 0 if every run is done, 1 if one failed.

    Raises:
        UserError: If the input is bad; nothing has been written then.
    """
    console = make_console()
    warnings = make_console(stderr=True)
    _check_numbers(call)
    if call.debug:
        refuse_beside_debug(call.jobs, call.timeout)
    spec, path = load_benchmark(call.benchmark)
    try:
        with loading_bar(warnings), lines_told(path):
            plans = make_plan(spec, path.parent, _options(call))
    except AbsentError as error:
        if not call.dry_run:
            raise
        with lines_told(path):
            return _list_outline(console, outline(spec, _options(call), path.parent), error)
    standing = scan_results(plans, lambda text: warnings.print(f"warning: {text}", soft_wrap=True))
    if call.dry_run:
        return _list_runs(console, standing)
    if call.force:
        standing = forget(standing.plans)
    slots = device_slots(call.device, call.jobs, spec.training.threads, count_gpus(), count_cores())
    if call.debug:
        view = InView(console, slots[0])
        outcomes = run_missing(standing, slots, None, view.hear, view.executor)
    else:
        with BenchProgress(console, len(standing.missing), len(standing.done)) as progress:
            outcomes = run_missing(standing, slots, call.timeout, progress.hear)
    status = report_runs(console, warnings, spec, call.out, plans, outcomes)
    if not call.debug:
        advise_debug(warnings, outcomes)
    return status


def _list_outline(console: Console, runs: list[tuple[str, int]], absent: AbsentError) -> int:
    for method, seed in runs:
        console.print(f"{method}, seed {seed}", soft_wrap=True)
    console.print(f"{counted(len(runs), 'run')}; which of them are done cannot be told: {absent}", soft_wrap=True)
    return 0


def _options(call: BenchCall) -> RunOptions:
    return RunOptions(
        out=call.out,
        data_root=call.data_root,
        methods=call.methods,
        seeds=call.seeds,
        training=call.training,
        limit_tasks=call.limit_tasks,
        device=call.device,
        save_model=call.save_model,
        eval_every=call.eval_every,
        curve_points=call.curve_points,
    )


def _check_numbers(call: BenchCall) -> None:
    for name, value in (
        ("--limit-tasks", call.limit_tasks),
        ("--epochs", call.training.get("epochs")),
        ("--jobs", call.jobs),
        ("--eval-every", call.eval_every),
    ):
        if isinstance(value, int) and value < 1:  # of --training anything may come, which is told with the training
            raise UserError(f"{name} is {value}, but must be at least 1")
    if call.curve_points < 0:
        raise UserError(f"--curve-points is {call.curve_points}, but must be at least 0")
    if call.timeout is not None and not call.timeout > 0:
        raise UserError(f"--timeout is {call.timeout}, but must be more than 0 seconds")


def _list_runs(console: Console, standing: BenchStatus) -> int:
    longest = max(len(plan.name) for plan in standing.plans)
    for plan in standing.plans:
        state = "done" if plan.record_path in standing.done else "to do"
        console.print(f"{state:5}  {plan.name:{longest}}  {plan.record_path}", soft_wrap=True, no_wrap=True)
    brought = {plan.pending.method: plan.brought for plan in standing.plans if plan.brought}
    for method, settings in brought.items():
        said = ", ".join(f"{key} {value}" for key, value in settings.items())
        console.print(f"'{method}' brings its training: {said}", soft_wrap=True)
    console.print(f"{counted(len(standing.plans), 'run')}, {len(standing.done)} done, {len(standing.missing)} to do")
    return 0


def report_runs(
    console: Console,
    warnings: Console,
    spec: BenchmarkSpec,
    out: Path,
    plans: Sequence[RunPlan],
    outcomes: Mapping[Path, RunRecord],
) -> int:
    """Print the tables of some runs, write their report, and tell of those that failed; returns the exit status."""
    finished = {path: record for path, record in outcomes.items() if record.status == "done"}
    complaints: list[str] = []
    if finished:
        from clsuite.report.files import write_report

        rows = summarize(list(finished.values()))
        columns = columns_of(list(finished.values()))
        width = table_width(console)
        console.print(results_table(rows, spec.title or spec.name, columns, width))
        for table in (probes_table(rows, columns, width), within_task_table(rows, columns, width)):
            if table is not None:
                console.print(table)
        files, complaints = write_report(out / spec.name, spec.title or spec.name, finished)
        names = ", ".join(file.name for file in files)
        console.print(f"records, matrices and plots: {out / spec.name}" + (f" ({names})" if names else ""))
    tell_failures(warnings, plans, outcomes)
    if complaints:
        more = f" (and {counted(len(complaints) - 1, 'more file')})" if len(complaints) > 1 else ""
        warnings.print(f"not written: {complaints[0]}{more}", soft_wrap=True)
    return 0 if len(finished) == len(outcomes) and not complaints else 1
