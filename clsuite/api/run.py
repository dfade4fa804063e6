"""`clsuite.run`: one run from Python.

The run has a process of its own, as on the command line, and not the notebook's: the record's peak memory and threads
are the run's alone, neither torch nor its global settings come into the notebook, an edited plugin needs no reload,
and an out-of-memory kill leaves the notebook alive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clsuite.api.progress import RunProgress
from clsuite.api.result import RunResult
from clsuite.config.paths import home_path
from clsuite.errors import UserError
from clsuite.plugin.catalog import catalog
from clsuite.records import RunRecord, reason_of
from clsuite.records.curves import POINTS
from clsuite.report.plots import plot_matrix
from clsuite.runner.bench import forget, run_missing, scan_results
from clsuite.runner.devices import count_cores, count_gpus, device_slots
from clsuite.runner.executor import InProcess
from clsuite.runner.grid import expand_grid
from clsuite.runner.methods import MethodSpec, write_method
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.spec import BenchmarkSpec, load_benchmark

Method = str | type | Sequence[Any] | Mapping[str, Any] | MethodSpec


def run(
    benchmark: str | Path | BenchmarkSpec,
    method: Method,
    seed: int = 0,
    *,
    name: str | None = None,
    training: Mapping[str, Any] | None = None,
    limit_tasks: int | None = None,
    eval_every: int | None = None,
    curve_points: int = POINTS,
    data_root: str | Path | None = None,
    out: str | Path = "runs",
    device: str = "auto",
    save_model: bool = False,
    force: bool = False,
    timeout: float | None = None,
    progress: bool = True,
    debug: bool = False,
) -> RunResult:
    """Do one run, or read it where it is done already.

    Records are those of ``clsuite bench``, in the same places: what one has done the other does not do again.

    Args:
        benchmark: Name of a shipped benchmark, a YAML file, a Python file with a stream, or a specification.
        method: As on the command line (``"lwf+replay(capacity=50)"``, or a name of the benchmark's), a plugin's class,
            a list of plugins (each a string, a class or ``{"replay": {"capacity": 50}}``), or a `MethodSpec`.
        seed: Decides class order, initial heads, sample order and augmentation.
        name: What tables call the method; by default what it is made of.
        training: Changes to the benchmark's training, such as ``{"epochs": 1, "optimizer": {"lr": 1e-4}}``.
        limit_tasks: Learn only the first tasks of the stream, in place of the benchmark's.
        eval_every: Evaluate within tasks too, after each so many steps.
        curve_points: Points of the loss curve, and of what plugins log, that are kept for each task; 0 keeps none.
        data_root: Where data sets and weights are looked for.
        out: Folder of the records.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        save_model: Keep the trained model, for ``result.load_model()``.
        force: Do it again although it is done.
        timeout: Seconds after which the run is ended.
        progress: Show how far it is.
        debug: Do it in this process, so that ``breakpoint()`` and pdb work in it, and raise what it raises. Then it
            ends at no timeout, and PyTorch's settings of the run stay.

    Raises:
        Exception: With `debug`, what a failed run raised; its record is written before.
        UserError: If the input is bad, or the run failed; says why and where its traceback is.
    """
    _check_numbers(seed, limit_tasks, eval_every, timeout, curve_points)
    spec, folder = _benchmark(benchmark)
    spec, written = _with_method(spec, method, name)
    options = RunOptions(
        out=Path(out),
        data_root=None if data_root is None else home_path(data_root),
        methods=written,
        seeds=[int(seed)],
        training=training,
        limit_tasks=limit_tasks,
        device=device,
        save_model=save_model,
        eval_every=eval_every,
        curve_points=curve_points,
    )
    plan = _single(make_plan(spec, folder, options))
    record = _do(plan, force, timeout, progress, spec.training.threads, debug)
    if record.status != "done":
        raise UserError(f"{record.status}: {plan.name}: {reason_of(record)} (see {plan.record_path})")
    return RunResult(record, plan.record_path, (folder, *_folders(plan)))


def _do(plan: RunPlan, force: bool, timeout: float | None, progress: bool, threads: int, debug: bool) -> RunRecord:
    standing = scan_results([replace(plan, save_model=False)], _warn)
    if force or (plan.save_model and standing.done and not plan.beside(".pt").exists()):
        standing = forget([plan])
    standing = replace(standing, plans=[plan])
    if not standing.missing:
        return standing.done[plan.record_path]
    slots = device_slots(plan.device, 1, threads, count_gpus(), count_cores())
    executor = InProcess(slots[0], _raise) if debug else None
    with RunProgress(shown=progress and not debug) as bar:
        record = run_missing(standing, slots, timeout, bar.hear, executor)[plan.record_path]
    if record.status == "done":
        try:
            plot_matrix(record, plan.beside(".svg"))
        except UserError as error:
            _warn(str(error))
    return record


def _raise(_: RunPlan, error: BaseException) -> None:
    raise error


def _warn(text: str) -> None:
    import warnings

    warnings.warn(text, RuntimeWarning, stacklevel=4)


def _check_numbers(
    seed: Any, limit_tasks: int | None, eval_every: int | None, timeout: float | None, curve_points: int
) -> None:
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise UserError(f"seed is {seed!r}, but must be a whole number; call run for each of several")
    if seed < 0:
        raise UserError(f"seed is {seed}, but must not be negative")
    for name, value in (("limit_tasks", limit_tasks), ("eval_every", eval_every)):
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}, but must be at least 1")
    if curve_points < 0:
        raise UserError(f"curve_points is {curve_points}, but must be at least 0")
    if timeout is not None and not timeout > 0:
        raise UserError(f"timeout is {timeout}, but must be more than 0 seconds")


def _benchmark(benchmark: str | Path | BenchmarkSpec) -> tuple[BenchmarkSpec, Path]:
    """The benchmark, and the folder where its relative paths are looked for."""
    if isinstance(benchmark, BenchmarkSpec):
        return benchmark, Path()
    spec, path = load_benchmark(str(benchmark))
    return spec, path.parent


def _with_method(spec: BenchmarkSpec, method: Method, name: str | None) -> tuple[BenchmarkSpec, list[str]]:
    """The benchmark with the one method, and what `RunOptions.methods` then names."""
    if isinstance(method, str) and name is None:
        return spec, [method]
    named = spec.named_methods
    chosen = named[method] if isinstance(method, str) and method in named else _read(method)
    points = expand_grid("", chosen, written=True)
    if len(points) > 1:
        raise UserError(
            f"the method is a grid of {len(points)}: run takes one, a list that is meant is written [[...]]"
        )
    return spec.model_copy(update={"methods": {name or write_method(next(iter(points.values()))): chosen}}), []


def _read(method: Method) -> MethodSpec:
    if isinstance(method, MethodSpec):
        return method
    given = [method] if isinstance(method, type) else method
    named = [_named(part) for part in given] if isinstance(given, list | tuple) else given
    try:
        return MethodSpec.model_validate(named)
    except ValidationError as error:
        raise UserError(
            f"cannot read the method {method!r}: give a string such as 'lwf+replay(capacity=50)', a plugin's class, "
            "or a list of plugins such as ['lwf', {'replay': {'capacity': 50}}]"
        ) from error


def _named(plugin: Any) -> Any:
    """A plugin's class by the name that the run's own process can import it by."""
    if not isinstance(plugin, type):
        return plugin
    if plugin.__module__ == "__main__" or "." in plugin.__qualname__:
        raise UserError(
            f"the class '{plugin.__qualname__}' has no file of its own, so no record could say what ran: write it into "
            "one (in a notebook: %%writefile my_method.py) and give './my_method.py'"
        )
    target = f"{plugin.__module__}:{plugin.__name__}"
    return next((info.name for info in catalog().values() if info.target == target and info.source), target)


def _single(plans: Sequence[RunPlan]) -> RunPlan:
    if len(plans) != 1:
        names = ", ".join(plan.pending.method for plan in plans)
        raise UserError(f"run takes one method, not {len(plans)} ({names}): call it for each, or clsuite bench for all")
    return plans[0]


def _folders(plan: RunPlan) -> list[Path]:
    """The folders of the plan's plugins that are files."""
    files = [info.target.rpartition(":")[0] for info in plan.plugins]
    return [Path(file).parent for file in files if file.endswith(".py")]
