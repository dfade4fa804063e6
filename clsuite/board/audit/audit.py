"""The audit of a submission by sampling."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from clsuite.board.audit.checks import RunAudit
from clsuite.board.audit.cost import RunCost
from clsuite.board.audit.sample import Drawn, Sample, Wish, draw
from clsuite.board.audit.submission import Submitted, state_problems
from clsuite.records.canonical import sha256_of
from clsuite.runner.plan import RunPlan

Tell = Callable[[str], None]


@dataclass
class Audit:
    """What came out of an audit.

    Attributes:
        sample: What was drawn; None if checks that learn nothing refuted the submission.
        refuted: A line for each discrepancy.
        notes: How machines differ, so that something was compared within a tolerance.
        cost: What it cost, in samples with a gradient.
        whole: What repeating all runs would cost at least.
        seconds: How long it took, without the checks that learn nothing.
        run_seconds: How long the runs took, by their records.
    """

    sample: Sample | None = None
    refuted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cost: float = 0.0
    whole: float = 0.0
    seconds: float = 0.0
    run_seconds: float = 0.0

    @property
    def share(self) -> float:
        """Its cost as a share of that of repeating all runs."""
        return self.cost / self.whole if self.whole else 0.0


def audit(
    submitted: Sequence[Submitted],
    plan: Callable[[Submitted], RunPlan],
    wish: Wish,
    tell: Tell = lambda text: None,
) -> Audit:
    """Compare the states of all records with their hashes, and learn a sample of tasks again.

    Args:
        submitted: Records that passed the checks that need no states.
        plan: Plans to repeat a run.
        wish: How much is drawn.
        tell: Receives a line for each part that is learned or evaluated, before it is.

    Raises:
        UserError: If a run cannot be repeated here.
    """
    result = Audit(refuted=[line for one in submitted for line in state_problems(one)])
    if result.refuted or not submitted:
        return result
    started = time.perf_counter()
    runs = [RunAudit(one, plan(one)) for one in submitted]
    costs = [RunCost.of(run.one.record, run.scenario, run.one.arrays) for run in runs]
    drawn = [
        Drawn(f"{run.one.record.benchmark}/{run.one.record.method}", _commitment(run.one), cost)
        for run, cost in zip(runs, costs, strict=True)
    ]
    result.sample = draw(drawn, wish)
    result.notes = sorted({f"{run.one.name}: {run.tolerance.apart}" for run in runs if run.tolerance.apart})
    _learn(runs, result, wish.steps, tell)
    result.cost, result.whole = sum(run.cost for run in runs), sum(cost.whole for cost in costs)
    result.seconds = time.perf_counter() - started
    result.run_seconds = sum(run.one.record.full_seconds for run in runs)
    return result


def _commitment(one: Submitted) -> str:
    """A hash of what a record commits to."""
    return sha256_of([one.record.key, [entry.model_dump() for entry in one.commitments]])


def _learn(runs: Sequence[RunAudit], result: Audit, steps: int, tell: Tell) -> None:
    """Learn and evaluate what was drawn, the cheapest first."""
    assert result.sample is not None
    for number, task in sorted(result.sample.starts):
        tell(f"{runs[number].one.name}: task {task + 1}: the first {steps} steps")
        result.refuted += runs[number].begin(task, steps)
    for (number, row), images in sorted(result.sample.images.items()):
        tell(f"{runs[number].one.name}: after task {row}: {len(images)} images")
        result.refuted += runs[number].evaluate(row, images)
    for number, task in sorted(result.sample.tasks):
        tell(f"{runs[number].one.name}: task {task + 1}: learned again")
        result.refuted += runs[number].relearn(task)
