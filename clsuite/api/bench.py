"""`clsuite.bench`: many runs from Python, of several methods and seeds, several at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

from rich.console import Console

from clsuite.api.benchmark import Benchmark, Method, open_benchmark, plugin_folders, read_method
from clsuite.api.progress import BenchProgress
from clsuite.api.result import RunResult
from clsuite.errors import InputWarning, several, warn_of
from clsuite.records import RunRecord, reason_of
from clsuite.runner.bench import Sharing, forget, run_missing, scan_results
from clsuite.runner.devices import count_cores, count_gpus, device_slots
from clsuite.runner.executor import Executor, InProcess, raise_error
from clsuite.runner.executors.choice import chosen_executor, make_executor
from clsuite.runner.methods import write_method
from clsuite.runner.options import BenchKeywords, BenchOptions, checked, takes
from clsuite.runner.orders import EXTREME
from clsuite.runner.plan import Planner, RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec
from clsuite.tuning.extreme_orders import ExtremeOrders

Methods = str | Sequence[Method] | Mapping[str, Method]


@takes(BenchOptions, *BenchKeywords.__annotations__)
def bench(
    benchmark: Benchmark,
    methods: Methods = (),
    seeds: Sequence[int] = (),
    *,
    progress: bool = True,
    partial: bool = False,
    **options: Unpack[BenchKeywords],
) -> list[RunResult]:
    """Do the runs of a benchmark, or read those that are done already, as ``clsuite bench`` does.

    Args:
        benchmark: Name of a shipped benchmark, a YAML file, a Python file with a stream, or a `BenchmarkSpec`.
        methods: Methods instead of the benchmark's: a string as on the command line (``"ncm,lwf+replay"``, ``"all"``),
            a list of methods in any form that `run` accepts, or a mapping of them by their names in tables.
        seeds: Seeds instead of the benchmark's; with the option `orders`, the first of the benchmark's by default.
        progress: Whether to show progress.
        partial: If runs fail, warn of each and return the others.
        **options: Options of ``clsuite bench``, such as ``jobs=4`` and ``training={"epochs": 1}``; `BenchOptions`
            describes them.

    Returns:
        The finished runs, seed by seed, in the order of the methods.

    Raises:
        UserError: If the input is invalid, or a run failed (all others are done and stored: the next call reads them).
    """
    decided = checked(BenchOptions, {**options, "seeds": tuple(seeds)})
    spec, folder = open_benchmark(benchmark, decided.settings)
    spec, written = with_methods(spec, methods)
    decided = decided.model_copy(update={"methods": written})
    if decided.orders == EXTREME:
        search = ExtremeOrders(Planner.of(spec, folder, decided))
        outcomes = search.run(lambda plans: do_plans(plans, decided, spec, progress))
        return results_of(search.plans, outcomes, folder, partial)
    plans = make_plan(spec, folder, decided)
    outcomes = do_plans(plans, decided, spec, progress)
    return results_of(plans, outcomes, folder, partial)


def with_methods(spec: BenchmarkSpec, methods: Methods) -> tuple[BenchmarkSpec, tuple[str, ...]]:
    """The benchmark with other methods, and the value of `RunOptions.methods` for them; by default its own."""
    if isinstance(methods, str):
        return spec, (methods,)
    if not methods:
        return spec, ()
    known = spec.named_methods
    if isinstance(methods, Mapping):
        chosen = {name: known[item] if item in known else read_method(item) for name, item in methods.items()}
        return spec.model_copy(update={"methods": chosen, "more_methods": {}}), ()
    if all(isinstance(item, str) for item in methods):
        return spec, tuple(str(item) for item in methods)
    chosen = {}
    for item in methods:
        name = item if isinstance(item, str) and item in known else None
        method = known[name] if name else read_method(item)
        chosen[name or write_method(method)] = method
    return spec.model_copy(update={"methods": chosen, "more_methods": {}}), ()


def do_plans(
    plans: Sequence[RunPlan], options: BenchOptions, spec: BenchmarkSpec, progress: bool
) -> dict[Path, RunRecord]:
    """Do the runs of a benchmark that are not done yet; returns the records of all runs by their path."""
    chosen, threads = chosen_executor(spec, options), spec.training.threads
    status = scan_results(plans, lambda text: warn_of(text, InputWarning))
    if options.force:
        status = forget(plans)
    slots = device_slots(options.device, options.jobs, threads, count_gpus(), count_cores(), options.devices)
    debugged = chosen.kind == "debug"
    console = Console(highlight=False, quiet=not progress or debugged)
    executor: Executor = InProcess(slots[0], raise_error)
    if not debugged:
        executor = make_executor(chosen, options, threads, slots, console.print)
    with BenchProgress(console, len(status.missing), len(status.done)) as bars:
        sharing = Sharing(offered=not debugged, stale_after=options.stale_after)
        return run_missing(status, slots, options.timeout, bars.on_event, executor, sharing)


def results_of(
    plans: Sequence[RunPlan], outcomes: Mapping[Path, RunRecord], folder: Path, partial: bool
) -> list[RunResult]:
    """The finished runs.

    Raises:
        UserError: If one failed, and the caller has not asked for partial results.
    """
    found: list[RunResult] = []
    failed: list[str] = []
    for plan in plans:
        record = outcomes[plan.record_path]
        if record.status == "done":
            found.append(RunResult(record, plan.record_path, (folder, *plugin_folders(plan))))
        else:
            failed.append(f"{record.status}: {plan.name}: {reason_of(record)} (see {plan.record_path})")
    if failed and not (partial and found):
        raise several(failed)
    for line in failed:
        warn_of(line, InputWarning)
    return found
