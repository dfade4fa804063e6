"""`clsuite.run`: one run from Python.

The run has its own process, as on the command line, and not the notebook's. The record's peak memory and threads are
therefore the run's alone, neither torch nor its global settings affect the notebook, an edited plugin needs no reload,
and an out-of-memory kill leaves the notebook alive.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Unpack

from clsuite.api.benchmark import Benchmark, Method, open_benchmark, plugin_folders, read_method
from clsuite.api.progress import RunProgress
from clsuite.api.result import RunResult
from clsuite.errors import UserError
from clsuite.records import RunRecord, reason_of
from clsuite.report.plots import plot_matrix
from clsuite.runner.bench import Sharing, forget, run_missing, scan_results
from clsuite.runner.devices import count_cores, count_gpus, device_slots
from clsuite.runner.executor import InProcess, raise_error
from clsuite.runner.grid import expand_grid
from clsuite.runner.methods import write_method
from clsuite.runner.options import BenchOptions, RunKeywords, checked, takes
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec


@takes(BenchOptions, *RunKeywords.__annotations__)
def run(
    benchmark: Benchmark,
    method: Method,
    seed: int = 0,
    *,
    name: str | None = None,
    progress: bool = True,
    **options: Unpack[RunKeywords],
) -> RunResult:
    """Do one run, or read it if it is done already.

    Records are those of ``clsuite bench``, in the same places: what one has done the other does not repeat.

    Args:
        benchmark: Name of a shipped benchmark, a YAML file, a Python file with a stream, or a `BenchmarkSpec`.
        method: A string as on the command line (``"lwf+replay(capacity=50)"``, or a name of the benchmark's), a
            plugin's class, a list of plugins (each a string, a class or ``{"replay": {"capacity": 50}}``), or a
            `MethodSpec`.
        seed: Seed of class order, initial heads, sample order and augmentation.
        name: Name of the method in tables; by default it is made from the plugins.
        progress: Whether to show progress.
        **options: Options of ``clsuite bench``, such as ``training={"epochs": 1, "optimizer": {"lr": 1e-4}}``,
            ``settings={"scenario.tasks": 2}``, ``limit_tasks=2``, ``data_root="data"``, ``save_model=True`` (for
            ``result.load_model()``) and ``debug=True`` (run in this process, so that ``breakpoint()`` and pdb work and
            exceptions are raised here); `BenchOptions` describes them.

    Returns:
        The finished run.

    Raises:
        Exception: With `debug`, the exception of a failed run; its record is written before.
        UserError: If the input is invalid, or the run failed; says why and where its traceback is.
    """
    _check_seed(seed)
    decided = checked(BenchOptions, {**options, "seeds": (int(seed),)})
    spec, folder = open_benchmark(benchmark, decided.settings)
    spec, written = _with_method(spec, method, name)
    decided = decided.model_copy(update={"methods": tuple(written)})
    plan = _single(make_plan(spec, folder, decided))
    record = _do(plan, decided, progress, spec.training.threads)
    if record.status != "done":
        raise UserError(f"{record.status}: {plan.name}: {reason_of(record)} (see {plan.record_path})")
    return RunResult(record, plan.record_path, (folder, *plugin_folders(plan)))


def _do(plan: RunPlan, options: BenchOptions, progress: bool, threads: int) -> RunRecord:
    status = scan_results([replace(plan, save_model=False)], _warn)
    if options.force or (plan.save_model and status.done and not plan.beside(".pt").exists()):
        status = forget([plan])
    status = replace(status, plans=[plan])
    if not status.missing:
        return status.done[plan.record_path]
    slots = device_slots(plan.device, 1, threads, count_gpus(), count_cores(), options.devices)
    executor = InProcess(slots[0], raise_error) if options.debug else None
    sharing = Sharing(stale_after=options.stale_after)
    with RunProgress(shown=progress and not options.debug) as bar:
        record = run_missing(status, slots, options.timeout, bar.on_event, executor, sharing)[plan.record_path]
    if record.status == "done":
        try:
            plot_matrix(record, plan.beside(".svg"))
        except UserError as error:
            _warn(str(error))
    return record


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def _check_seed(seed: Any) -> None:
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise UserError(f"seed is {seed!r}, but must be a whole number; clsuite.bench takes several")
    if seed < 0:
        raise UserError(f"seed is {seed}, but must not be negative")


def _with_method(spec: BenchmarkSpec, method: Method, name: str | None) -> tuple[BenchmarkSpec, list[str]]:
    """The benchmark with the one method, and the value of `RunOptions.methods` for it."""
    if isinstance(method, str) and name is None:
        return spec, [method]
    named = spec.named_methods
    chosen = named[method] if isinstance(method, str) and method in named else read_method(method)
    points = expand_grid("", chosen, written=True)
    if len(points) > 1:
        raise UserError(f"the method is a grid of {len(points)}: run takes one; write a list as a value as [[...]]")
    return spec.model_copy(update={"methods": {name or write_method(next(iter(points.values()))): chosen}}), []


def _single(plans: Sequence[RunPlan]) -> RunPlan:
    if len(plans) != 1:
        names = ", ".join(plan.pending.method for plan in plans)
        raise UserError(f"run takes one method, not {len(plans)} ({names}): clsuite.bench takes several")
    return plans[0]
