"""`clsuite.tune`: hyperparameter search from Python, on validation parts only, and the final runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from clsuite.api.bench import do_plans, results_of
from clsuite.api.benchmark import Benchmark, Method, open_benchmark, read_method
from clsuite.api.result import RunResult
from clsuite.errors import InputWarning, warn_of
from clsuite.records import RunRecord, TrialEntry
from clsuite.runner.bench import scan_results
from clsuite.runner.methods import write_method
from clsuite.runner.options import checked, takes
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.tuning.options import TuneKeywords, TuneOptions
from clsuite.tuning.search import keep_search, make_search


@dataclass(frozen=True)
class TuneResult:
    """The result of a search.

    Attributes:
        chosen: The best values on validation images, by the names of the space.
        trials: Every trial: its values, its score (None if it failed) and its cost.
        results: The runs on the whole stream with the chosen values.
    """

    chosen: dict[str, Any]
    trials: Sequence[TrialEntry]
    results: list[RunResult]


@takes(TuneOptions, *TuneKeywords.__annotations__)
def tune(
    benchmark: Benchmark,
    method: Method,
    space: str,
    seeds: Sequence[int] = (),
    *,
    progress: bool = True,
    **options: Unpack[TuneKeywords],
) -> TuneResult:
    """Choose hyperparameters on validation parts of the first tasks, and run with them, as ``clsuite tune`` does.

    Args:
        benchmark: Name of a shipped benchmark, a YAML file, a Python file with a stream, or a `BenchmarkSpec`.
        method: A method in any form that `run` accepts.
        space: The search space, such as ``"alpha=[0.1, 0.5], lr=loguniform(1e-5, 1e-2)"``.
        seeds: Seeds of the final runs instead of the benchmark's.
        progress: Whether to show progress.
        **options: Options of ``clsuite tune``, such as ``trials=12``; `TuneOptions` describes them.

    Returns:
        The chosen values, the trials, and the final runs.

    Raises:
        UserError: If the input is invalid, no trial finished, or a final run failed.
    """
    decided = checked(TuneOptions, {**options, "seeds": tuple(seeds)})
    spec, folder = open_benchmark(benchmark, decided.settings)
    arguments = method if isinstance(method, str) else (write_method(read_method(method)), read_method(method))
    search = make_search(spec, folder, arguments, space, decided)
    make_plan(spec.model_copy(update={"methods": {search.name: search.method}}), folder, decided)

    def do(plans: Sequence[RunPlan]) -> list[RunRecord]:
        return list(do_plans(plans, decided, spec, progress).values())

    tuning = search.run(decided, do, lambda *_: None)
    plans = search.final_plans(decided, tuning)
    status = scan_results(plans, lambda text: None)
    outcomes = do_plans(plans, decided, spec, progress)
    keep_search(status, tuning, lambda text: warn_of(text, InputWarning))
    return TuneResult(dict(tuning.chosen), tuning.trials, results_of(plans, outcomes, folder, partial=False))
