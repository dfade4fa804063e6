"""`clsuite bench`: plans, runs with progress, and reports."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from clsuite.api.progress import BenchProgress
from clsuite.cli.console import make_console, table_width
from clsuite.cli.data_progress import loading_bar
from clsuite.cli.debugging import InView
from clsuite.cli.detach import detach
from clsuite.cli.failures import advise_debug, print_failures
from clsuite.cli.jobs import ask_to_cancel
from clsuite.errors import AbsentError, UserError
from clsuite.records import RunRecord
from clsuite.report.format import counted
from clsuite.report.summary import summarize
from clsuite.report.table import probes_table, results_table, within_task_table
from clsuite.runner.bench import BenchStatus, Sharing, check_writable, forget, run_missing, scan_results
from clsuite.runner.devices import count_cores, count_gpus, device_slots
from clsuite.runner.executor import Submitting
from clsuite.runner.executors.choice import chosen_executor, make_executor
from clsuite.runner.executors.spec import AnyExecutor
from clsuite.runner.manifest import write_manifest
from clsuite.runner.methods import split_outside
from clsuite.runner.options import BenchOptions
from clsuite.runner.orders import EXTREME
from clsuite.runner.plan import Planner, RunPlan, make_plan
from clsuite.runner.printed import printed_benchmark
from clsuite.runner.resolve import outline
from clsuite.runner.settings import OF_METHODS, with_settings
from clsuite.runner.spec import BenchmarkSpec, load_benchmark, with_lines
from clsuite.runner.training import lists_in

if TYPE_CHECKING:
    from clsuite.tuning.extreme_orders import ExtremeOrders


def print_config(benchmark: str, options: BenchOptions) -> int:
    """Print a benchmark with the options applied; returns the exit status.

    Raises:
        UserError: If the input is invalid.
    """
    spec, path = open_benchmark(benchmark, options)
    with _with_lines(spec, path, options):
        print(printed_benchmark(spec, path.parent, options), end="")
    return 0


def open_benchmark(benchmark: str, options: BenchOptions) -> tuple[BenchmarkSpec, Path]:
    """The benchmark with the settings of a call, and its file.

    Raises:
        UserError: If there is no such benchmark, or it has no such field.
    """
    spec, path = load_benchmark(benchmark)
    return with_settings(spec, options.settings), path


def _with_lines(spec: BenchmarkSpec, path: Path, options: BenchOptions) -> AbstractContextManager[None]:
    """Add lines of the benchmark's file to mistakes, except for what the call itself has given."""
    known = {*spec.named_methods, "all"}
    written = any(name not in known for text in options.methods for name in split_outside(text, ","))
    changed = any(key.startswith(OF_METHODS) for key in options.settings)
    own = written or changed or bool(lists_in(options.training))
    return with_lines(path, not own, options.settings)


def run_bench(
    benchmark: str, options: BenchOptions, only: Literal["", "list", "plan"] = "", detached: Sequence[str] = ()
) -> int:
    """Run a benchmark.

    Args:
        benchmark: Its name or file.
        options: The options of the call.
        only: Do no runs: ``list`` prints them, ``plan`` writes them down for workers.
        detached: The command line for a process without a terminal that does the runs instead of this one.

    Returns:
        Exit status: 0 if every run is done, 1 if one failed.

    Raises:
        UserError: If the input is invalid; nothing has been written then.
    """
    console = make_console()
    warnings = make_console(stderr=True)
    spec, path = open_benchmark(benchmark, options)
    chosen = chosen_executor(spec, options)
    if detached and chosen.kind == "debug":
        raise UserError("--detach leaves the terminal that --debug needs: leave one of them out")
    _check_orders(options, "--plan-only" if only == "plan" else "--detach" if detached else "")
    search = None
    try:
        with loading_bar(warnings), _with_lines(spec, path, options):
            search = _order_search(spec, path, options) if options.orders == EXTREME else None
            plans = search.plans if search else make_plan(spec, path.parent, options)
    except AbsentError as error:
        if only != "list":
            raise
        with _with_lines(spec, path, options):
            return _list_outline(console, outline(spec, options, path.parent), error)
    status = scan_results(plans, lambda text: warnings.print(f"warning: {text}", soft_wrap=True))
    if only == "list":
        return _list_runs(console, status, options.order_budget if search else None)
    if search is not None:
        return _run_search(console, warnings, spec, options, search)
    if options.force:
        status = forget(status.plans)
    if only == "plan":
        _plan_runs(console, status, options.out)
        return 0
    if detached and status.missing:
        return _leave_runs(console, status, chosen, options, detached)
    outcomes = do_runs(console, status, chosen, options, spec.training.threads)
    return report_runs(console, warnings, spec, options, plans, outcomes)


def _check_orders(options: BenchOptions, leaves: str) -> None:
    """Check the options of orders before anything is read.

    Args:
        options: The options of the call.
        leaves: The option that leaves the runs to others, if there is one.
    """
    if options.orders == EXTREME and leaves:
        raise UserError(f"--orders extreme decides its runs as it goes: leave out {leaves}")
    if options.rank_by == "worst" and options.orders in (None, 1):
        raise UserError("--rank-by worst needs several orders: give --orders 20, or --orders extreme")


def _order_search(spec: BenchmarkSpec, path: Path, options: BenchOptions) -> ExtremeOrders:
    from clsuite.tuning.extreme_orders import ExtremeOrders

    return ExtremeOrders(Planner.of(spec, path.parent, options))


def _run_search(
    console: Console, warnings: Console, spec: BenchmarkSpec, options: BenchOptions, search: ExtremeOrders
) -> int:
    """Search for the worst and the best order of each method, and report all runs; returns the exit status."""
    chosen = chosen_executor(spec, options)

    def do(plans: Sequence[RunPlan]) -> dict[Path, RunRecord]:
        status = scan_results(plans, lambda text: warnings.print(f"warning: {text}", soft_wrap=True))
        return do_runs(console, forget(plans) if options.force else status, chosen, options, spec.training.threads)

    outcomes = search.run(do)
    result = report_runs(console, warnings, spec, options, search.plans, outcomes)
    for found in search.found():
        console.print(str(found), soft_wrap=True, markup=False)
    return result


def do_runs(
    console: Console, status: BenchStatus, chosen: AnyExecutor, options: BenchOptions, threads: int
) -> dict[Path, RunRecord]:
    """Do the runs that are not done, with progress bars or for a debugger; returns all records by their path."""
    slots = device_slots(options.device, options.jobs, threads, count_gpus(), count_cores(), options.devices)
    sharing = Sharing(offered=chosen.kind != "debug", stale_after=options.stale_after)
    if chosen.kind == "debug":
        view = InView(console, slots[0])
        return run_missing(status, slots, None, view.on_event, view.executor, sharing)
    executor = make_executor(chosen, options, threads, slots, partial(console.print, soft_wrap=True))
    try:
        with BenchProgress(console, len(status.missing), len(status.done)) as progress:
            return run_missing(status, slots, options.timeout, progress.on_event, executor, sharing)
    except KeyboardInterrupt:
        ask_to_cancel(console, executor)
        raise


def _leave_runs(
    console: Console, status: BenchStatus, chosen: AnyExecutor, options: BenchOptions, command: Sequence[str]
) -> int:
    """Leave the remaining runs to a process without a terminal, or to jobs of a batch system."""
    if chosen.kind != "slurm":
        return detach(command, _plan_runs(console, status, options.out), options.out)
    threads = max(plan.pending.config["training"]["threads"] for plan in status.missing)
    executor = make_executor(chosen, options, threads, [], partial(console.print, soft_wrap=True))
    executor.check(status.missing)
    _plan_runs(console, status, options.out)
    assert isinstance(executor, Submitting)
    executor.submit(status.missing)
    return 0


def _list_outline(console: Console, runs: list[tuple[str, str]], absent: AbsentError) -> int:
    for method, which in runs:
        console.print(f"{method}, {which}", soft_wrap=True)
    console.print(f"{counted(len(runs), 'run')}; which of them are done is not known: {absent}", soft_wrap=True)
    return 0


def _list_runs(console: Console, status: BenchStatus, budget: int | None = None) -> int:
    longest = max(len(plan.name) for plan in status.plans)
    for plan in status.plans:
        state = "done" if plan.record_path in status.done else "to do"
        console.print(f"{state:5}  {plan.name:{longest}}  {plan.record_path}", soft_wrap=True, no_wrap=True)
    brought = {plan.pending.method: plan.brought for plan in status.plans if plan.brought}
    for method, settings in brought.items():
        training = ", ".join(f"{key} {value}" for key, value in settings.items())
        console.print(f"'{method}' sets its own training options: {training}", soft_wrap=True)
    console.print(f"{counted(len(status.plans), 'run')}, {len(status.done)} done, {len(status.missing)} to do")
    if budget is not None:
        console.print(f"the search adds orders that its runs choose, up to {budget} of each method", soft_wrap=True)
    return 0


def _plan_runs(console: Console, status: BenchStatus, out: Path) -> Path:
    """Write down the remaining runs for workers; returns the folder of the benchmark."""
    missing, folder = status.missing, status.plans[0].record_path.parent.parent
    if missing:
        check_writable(folder)
        write_manifest(folder, missing)
    summary = f"{counted(len(missing), 'run')} planned, {len(status.done)} done"
    console.print(summary + (f"; workers: clsuite work {shlex.quote(str(out))}" if missing else ""), soft_wrap=True)
    return folder


def report_runs(
    console: Console,
    warnings: Console,
    spec: BenchmarkSpec,
    options: BenchOptions,
    plans: Sequence[RunPlan],
    outcomes: Mapping[Path, RunRecord],
) -> int:
    """Print the tables of some runs, write their report, and list those that failed; returns the exit status."""
    finished = {path: record for path, record in outcomes.items() if record.status == "done"}
    problems: list[str] = []
    if finished:
        from clsuite.report.files import write_report

        results, width = summarize(list(finished.values()), options.rank_by), table_width(console)
        console.print(results_table(results, spec.title or spec.name, width))
        for table in (probes_table(results, width), within_task_table(results, width)):
            if table is not None:
                console.print(table)
        files, problems = write_report(options.out / spec.name, spec.title or spec.name, finished, options.rank_by)
        names = ", ".join(file.name for file in files)
        console.print(f"records, matrices and plots: {options.out / spec.name}" + (f" ({names})" if names else ""))
    print_failures(warnings, plans, outcomes)
    if problems:
        more = f" (and {counted(len(problems) - 1, 'more file')})" if len(problems) > 1 else ""
        warnings.print(f"not written: {problems[0]}{more}", soft_wrap=True)
    if not options.debug:
        advise_debug(warnings, outcomes)
    return 0 if len(finished) == len(outcomes) and not problems else 1
