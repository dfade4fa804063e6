"""The search: trials are runs on the first tasks of a stream, evaluated on validation parts; then the final runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clsuite.errors import UserError
from clsuite.metrics import METRICS
from clsuite.plugin.catalog import find_plugin
from clsuite.records import RunRecord, TrialEntry, TuningEntry, reason_of, write_record
from clsuite.runner.bench import BenchStatus, Warn
from clsuite.runner.methods import MethodSpec, parse_method, write_method
from clsuite.runner.options import RunOptions
from clsuite.runner.plan import RunPlan, make_plan
from clsuite.runner.record_config import tasks_learned
from clsuite.runner.spec import BenchmarkSpec
from clsuite.scenarios import ScenarioSpec
from clsuite.tuning.options import TuneOptions
from clsuite.tuning.parameters import ParameterPath, find_places, with_values
from clsuite.tuning.sampler import Sampler
from clsuite.tuning.space import parse_space

ROUND = 4
"""Trials proposed at a time, independent of the number of cores, so that the search is the same on every machine."""
SHARE = 0.1
"""Validation share of the search where the benchmark holds nothing out."""
FOLDER = "tuning"
"""Folder for the records of trials, below that of the other records."""

Do = Callable[[Sequence[RunPlan]], Sequence[RunRecord]]
OnTrial = Callable[[int, TrialEntry, RunRecord], None]


@dataclass(frozen=True)
class Search:
    """The definition of a search.

    Attributes:
        spec: The benchmark.
        folder: The folder of its file.
        name: Name of the method.
        method: The method, with any values of the searched hyperparameters.
        space: The space, as written.
        trials: Largest number of trials.
        tasks: Number of first tasks, on whose validation parts trials are evaluated.
        seed: Seed of the stream and of the training in all trials.
        metric: Exact name of the metric that is optimized.
        validation: Share of the training images held out; None takes the benchmark's, or a tenth.
        sampler_seed: Seed of the proposals.
    """

    spec: BenchmarkSpec
    folder: Path
    name: str
    method: MethodSpec
    space: str
    trials: int
    tasks: int
    seed: int
    metric: str
    validation: float | None
    sampler_seed: int

    def run(self, options: RunOptions, do: Do, on_trial: OnTrial) -> TuningEntry:
        """Try points of the space.

        Args:
            options: The options of the final runs.
            do: Does the runs that are not done yet, and returns the records of all.
            on_trial: Called with each trial: its number, its entry in the record, and its own record.

        Raises:
            UserError: If the space does not match the method, or no trial finished.
        """
        space, places = parse_space(self.space), self._places(options)
        sampler = Sampler(space, self.trials, self.sampler_seed, METRICS[self.metric].higher_is_better)
        trials: list[TrialEntry] = []
        while len(trials) < sampler.trials:
            proposed = sampler.ask(min(ROUND, sampler.trials - len(trials)))
            plans = [self._plan(options, with_values(self.method, places, values)) for values in proposed]
            unique = {plan.record_path: plan for plan in plans}
            records = dict(zip(unique, do(list(unique.values())), strict=True))
            for values, plan in zip(proposed, plans, strict=True):
                trials.append(self._trial(values, records[plan.record_path]))
                on_trial(len(trials), trials[-1], records[plan.record_path])
            sampler.tell([trial.score for trial in trials[-len(proposed) :]])
        return self._entry(sampler.name, trials, records)

    def final_plans(self, options: RunOptions, tuning: TuningEntry) -> list[RunPlan]:
        """The runs on the whole stream with the chosen values, whose records will describe the search."""
        method = with_values(self.method, self._places(options), tuning.chosen)
        spec = self.spec.model_copy(update={"methods": {f"{self.name} (tuned)": method}})
        plans = make_plan(spec, self.folder, options)
        return [replace(plan, pending=plan.pending.model_copy(update={"tuning": tuning})) for plan in plans]

    def _places(self, options: RunOptions) -> dict[str, ParameterPath]:
        sources = [find_plugin(use.name, (Path(), self.folder))[1] for use in self.method.plugins]
        places = find_places(parse_space(self.space), self.method, sources)
        for name, place in places.items():
            if place.plugin is None and place.path[0] in options.training:
                raise UserError(f"'{name}' is in --space and is given as an option too: remove one")
        return places

    def _plan(self, options: RunOptions, method: MethodSpec) -> RunPlan:
        """The run of a trial."""
        held_out = _with_validation(self.spec.scenario, self.validation)
        changes: dict[str, Any] = {
            "scenario": held_out,
            "methods": {self.name: method},
            "probes": (),
            "evaluation": None,
        }
        short = {
            "out": options.out / FOLDER,
            "seeds": (self.seed,),
            "orders": None,
            "methods": (),
            "limit_tasks": self.tasks,
            "save_model": False,
            "keep_states": False,
            "eval_every": None,
            "on_validation": True,
        }
        plans = make_plan(self.spec.model_copy(update=changes), self.folder, options.model_copy(update=short))
        if len(plans) > 1:
            raise UserError(f"the method '{self.name}' is a grid: write its values into --space")
        return plans[0]

    def _trial(self, values: Mapping[str, Any], record: RunRecord) -> TrialEntry:
        score = METRICS[self.metric].compute(record.main_counts) if record.status == "done" else None
        if score is not None and math.isnan(score):
            raise UserError(f"{self.metric} is undefined for {self.tasks} tasks: use more --tasks, or another --metric")
        samples = sum(task.gradient_samples for task in record.tasks)
        return TrialEntry(values=dict(values), score=score, gradient_samples=samples, seconds=record.full_seconds)

    def _entry(self, sampler: str, trials: list[TrialEntry], records: Mapping[Path, RunRecord]) -> TuningEntry:
        sign = 1 if METRICS[self.metric].higher_is_better else -1
        finished = [(sign * trial.score, trial) for trial in trials if trial.score is not None]
        if not finished:
            reason = reason_of(next(iter(records.values())))
            raise UserError(f"none of the {len(trials)} trials finished: {reason}")
        best = max(finished, key=lambda pair: pair[0])[1]
        return TuningEntry(
            metric=self.metric,
            space=self.space,
            sampler=sampler,
            sampler_seed=self.sampler_seed,
            tasks=self.tasks,
            validation=_share(_with_validation(self.spec.scenario, self.validation)),
            seed=self.seed,
            chosen=best.values,
            trials=trials,
        )


def make_search(
    spec: BenchmarkSpec, folder: Path, method: str | tuple[str, MethodSpec], space: str, options: TuneOptions
) -> Search:
    """The search of a call.

    Args:
        spec: The benchmark.
        folder: The folder of its file.
        method: Name of one of its methods, plugins as they are written, or a name and a method.
        space: The search space.
        options: The options of the call.

    Raises:
        UserError: If the method cannot be read, or trials would learn more tasks than the final runs: they would then
            choose for another stream.
    """
    learned = tasks_learned(spec, options.limit_tasks)
    if learned is not None and options.tasks > learned:
        raise UserError(
            f"--tasks is {options.tasks}, but the final runs learn {learned} tasks only: give --tasks {learned}"
        )
    if options.orders is not None:
        raise UserError("orders are for clsuite bench: choose hyperparameters first, then run several orders")
    name, found = _named_method(method, spec) if isinstance(method, str) else method
    first = (options.seeds or spec.seeds)[0]
    return Search(
        spec=spec,
        folder=folder,
        name=name,
        method=found,
        space=space,
        trials=options.trials,
        tasks=options.tasks,
        seed=first if options.search_seed is None else options.search_seed,
        metric=options.metric,
        validation=options.validation,
        sampler_seed=options.sampler_seed,
    )


def _named_method(method: str, spec: BenchmarkSpec) -> tuple[str, MethodSpec]:
    if method in spec.named_methods:
        return method, spec.named_methods[method]
    written = parse_method(method)
    return write_method(written), written


def keep_search(status: BenchStatus, tuning: TuningEntry, warn: Warn) -> None:
    """Add the search to final records that were done before, after an earlier search with the same result."""
    for path, record in status.done.items():
        try:
            if record.tuning != tuning:
                write_record(record.model_copy(update={"tuning": tuning}), path)
        except UserError as error:
            warn(f"the search is not recorded: {error}")


def _share(scenario: ScenarioSpec) -> float | None:
    return getattr(scenario.root, "validation", None)


def _with_validation(scenario: ScenarioSpec, share: float | None) -> ScenarioSpec:
    """The stream with a share of its training images held out."""
    own = _share(scenario)
    if own is None:
        if share is not None:
            raise UserError(f"a {scenario.kind} stream has its own validation parts: remove --validation")
        return scenario
    wanted = share if share is not None else own or SHARE
    return ScenarioSpec.model_validate({**scenario.model_dump(), "validation": wanted})
