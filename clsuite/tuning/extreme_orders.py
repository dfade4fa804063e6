"""``--orders extreme``: runs that search for the worst and the best class order of each method.

The search is the same in every call, and its runs are records like any others, so that a call after an interruption, or
with a larger budget, reads what is done and goes on. All methods advance together, a round of runs at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clsuite.errors import UserError
from clsuite.metrics import METRICS, PRIMARY
from clsuite.records import RunRecord
from clsuite.runner.options import ORDER_STARTS
from clsuite.runner.orders import drawn_order, listed_order
from clsuite.runner.plan import Planner, RunPlan
from clsuite.runner.record_config import tasks_learned
from clsuite.scenarios import ScenarioSpec
from clsuite.scenarios.spec import ByClass
from clsuite.tuning.order_search import Floats, OrderSearch, Split, split_of

Do = Callable[[Sequence[RunPlan]], Mapping[Path, RunRecord]]


@dataclass(frozen=True)
class Extremes:
    """What the search of a method found.

    Attributes:
        method: Its name.
        worst: Class names of each task, in the worst order.
        best: Likewise, in the best.
        lowest: Final accuracy in the worst order, the mean over seeds.
        highest: Final accuracy in the best order.
        runs: Number of orders that were run.
    """

    method: str
    worst: tuple[tuple[str, ...], ...]
    best: tuple[tuple[str, ...], ...]
    lowest: float
    highest: float
    runs: int

    def __str__(self) -> str:
        ends = {"worst": (self.lowest, self.worst), "best": (self.highest, self.best)}
        found = (
            f"{end} {100 * value:.1f} % ({' | '.join(', '.join(task) for task in tasks)})"
            for end, (value, tasks) in ends.items()
        )
        return f"{self.method}: of {self.runs} orders {', '.join(found)}"


class ExtremeOrders:
    """The searches of a call.

    Attributes:
        plans: All runs so far.
    """

    def __init__(self, planner: Planner, similarity: Callable[[RunPlan], Floats] | None = None) -> None:
        """Plan the first runs.

        Args:
            planner: Plans the runs.
            similarity: Gives the similarity of the classes of a run's stream; by default that of their mean features.

        Raises:
            UserError: If tasks are not sets of classes that come once, or the stream is cut.
        """
        self._planner, self._stream = planner, planner.bound.spec.scenario
        if tasks_learned(planner.bound.spec, planner.options.limit_tasks) is not None:
            raise UserError("--orders extreme searches orders of whole streams: remove limit_tasks")
        self._drawn = [drawn_order(self._stream, number) for number in range(ORDER_STARTS)]
        self.plans = planner.plans(self._drawn)
        self._similarity = similarity
        scenario = planner.bound.stream(self.plans[0].pending.seed, self._drawn[0])
        self._sizes = [len(task.classes) for task in scenario.tasks]
        if not isinstance(self._stream.root, ByClass) or sum(self._sizes) != len(scenario.classes):
            raise UserError(
                f"--orders extreme searches orders of classes that come in one task each, and the stream is of kind "
                f"'{scenario.kind}'; --orders 20 draws orders of any stream whose order the seed decides"
            )
        if len(self._sizes) < 2:
            raise UserError("--orders extreme needs a stream of two or more tasks")
        self._names = scenario.table.classes
        self._splits = {self._split(plan): stream for plan, stream in reversed(list(self._starts()))}

    def _starts(self) -> Iterator[tuple[RunPlan, ScenarioSpec]]:
        """A run of each drawn order."""
        first = self.plans[0].pending.seed, self.plans[0].pending.method
        ours = [plan for plan in self.plans if (plan.pending.seed, plan.pending.method) == first]
        return zip(ours, self._drawn, strict=True)

    def _split(self, plan: RunPlan) -> Split:
        position = {name: label for label, name in enumerate(self._names)}
        return split_of([position[name] for name in plan.pending.scenario.classes], self._sizes)

    def run(self, do: Do) -> dict[Path, RunRecord]:
        """Search.

        Args:
            do: Does the runs that are not done yet, and returns the records of all by their path.

        Returns:
            The records of all runs by their path.
        """
        from clsuite.tuning.class_similarity import class_similarity

        similarity = (self._similarity or class_similarity)(self.plans[0])
        starts = [self._split(plan) for plan, _ in self._starts()]
        budget = self._planner.options.order_budget
        self._searches = {name: OrderSearch(similarity, starts, budget) for name in self._planner.methods}
        self.plans, outcomes = [], dict[Path, RunRecord]()
        while asked := {name: splits for name, search in self._searches.items() if (splits := search.ask())}:
            runs = {name: self._planner.plans([self._stream_of(split) for split in splits], [name])
                    for name, splits in asked.items()}  # fmt: skip
            round_of = [plan for plans in runs.values() for plan in plans]
            self.plans += round_of
            outcomes |= do(round_of)
            for name, plans in runs.items():
                self._tell(name, plans, outcomes)
        return outcomes

    def _stream_of(self, split: Split) -> ScenarioSpec:
        """The stream of a split: one of the drawn ones, or one whose classes are listed."""
        names = [self._names[label] for task in split for label in task]
        return self._splits.get(split) or listed_order(self._stream, names)

    def _tell(self, method: str, plans: Sequence[RunPlan], outcomes: Mapping[Path, RunRecord]) -> None:
        """Take the final accuracy of each order, the mean over the seeds of which it is known."""
        scores: dict[Split, list[float]] = {}
        for plan in plans:
            record = outcomes[plan.record_path]
            of_order = scores.setdefault(self._split(plan), [])
            if record.status == "done":
                of_order.append(METRICS[PRIMARY].compute(record.main_counts))
        for split, values in scores.items():
            self._searches[method].tell(split, float(np.mean(values)) if values else math.nan)

    def found(self) -> Iterator[Extremes]:
        """What was found for each method of which a run finished."""
        for name, search in self._searches.items():
            worst, best = search.found("worst"), search.found("best")
            if worst is not None and best is not None:
                ends = (self._named(worst), self._named(best))
                yield Extremes(name, *ends, search.scores[worst], search.scores[best], len(search.scores))

    def _named(self, split: Split) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(self._names[label] for label in task) for task in split)
