"""The training plan of a task: the options of the benchmark, changed by the plugins of a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from clsuite.config.error_text import first_mistake
from clsuite.errors import UserError, did_you_mean
from clsuite.learner.options import PLANNED, OptimizerSpec, TrainingSpec
from clsuite.learner.schedules import Schedule

if TYPE_CHECKING:
    from clsuite.learner.learner import Learner
    from clsuite.plugin.base import Plugin
    from clsuite.scenarios import Task


@dataclass(frozen=True)
class TrainingPlan:
    """The training plan of a task, or of a round of it.

    Attributes:
        options: The training options, which are ``learner.options`` during the task.
        rounds: Number of times that the task is trained, each time with other random draws, and with a new optimizer
            from the second time on. The plan of the first round decides.
        round: The round that is planned, from 0.
        schedule: A schedule instead of that of the options.
    """

    options: TrainingSpec
    rounds: int = 1
    round: int = 0
    schedule: Schedule | None = None

    def with_options(self, **given: Any) -> TrainingPlan:
        """Return the same plan with other options.

        Args:
            given: ``epochs``, ``steps``, ``batch_size``, ``optimizer``, ``schedule``, ``warmup_steps``,
                ``gradient_clip``, ``loss``, ``label_smoothing`` or ``augment``, as in a benchmark. With ``epochs``, a
                number of steps that the benchmark states does not apply. Keys of the optimizer that are not given do
                not change: ``optimizer={"lr": 0.01}``. A schedule may be a function of the `Moment`.

        Raises:
            UserError: If an option is unknown, cannot differ between tasks, or has a wrong value.
        """
        for name in given:
            if name not in PLANNED:
                raise did_you_mean("an option that a task's plan can change:", name, PLANNED)
        schedule = given.pop("schedule", None)
        if callable(schedule):
            return replace(self.with_options(**given), schedule=schedule)
        if schedule is not None:
            given |= {"schedule": schedule, "own_schedule": None}
        if "epochs" in given:
            given = {"steps": None, **given}
        if isinstance(given.get("optimizer"), Mapping):
            given["optimizer"] = optimizer_with(self.options.optimizer, given["optimizer"])
        try:
            options = TrainingSpec.model_validate({**dict(self.options), **given})
        except ValidationError as error:
            raise UserError(first_mistake(error, "with_options", "with_options: ")) from error
        if (options.own_schedule or self.options.own_schedule) != self.options.own_schedule:
            raise UserError("with_options: a schedule is a name or a function here, such as multi_step([18])")
        return replace(self, options=options, schedule=None if schedule is not None else self.schedule)


def optimizer_with(spec: OptimizerSpec, given: str | Mapping[str, Any] | OptimizerSpec) -> OptimizerSpec:
    """Change keys of an optimizer.

    Args:
        spec: The optimizer; if a name is given for a user-defined class, only its rates are used.
        given: A name, keys as in a benchmark, or a complete optimizer.

    Raises:
        UserError: If a key is unknown or has a wrong value.
    """
    if isinstance(given, OptimizerSpec):
        return given
    if isinstance(given, str):
        given = {"name": given}
    another = "name" in given
    known = {name: getattr(spec, name) for name in OptimizerSpec.model_fields if not (another and name == "own")}
    try:
        return OptimizerSpec.model_validate({**known, **given})
    except ValidationError as error:
        raise UserError(first_mistake(error, "optimizer", "optimizer.")) from error


def make_plan(learner: Learner, plugins: Sequence[Plugin], task: Task, first: TrainingPlan) -> TrainingPlan:
    """Let plugins change the plan, one after another.

    Args:
        learner: The model.
        plugins: The plugins with this hook, in order.
        task: The task.
        first: The plan of the benchmark.

    Raises:
        UserError: If the plans of two plugins conflict, or a result is not a valid plan.
    """
    plan, decided = first, dict[str, str]()
    for plugin in plugins:
        name = type(plugin).__name__
        before, plan = plan, plugin.plan_training(learner, task, plan)
        if not isinstance(plan, TrainingPlan):
            raise UserError(f"plan_training of {name} returns {type(plan).__name__}: return the plan, or a changed one")
        if plan.round != before.round or plan.rounds < 1:
            raise UserError(
                f"plan_training of {name} plans round {plan.round} of {plan.rounds}, but was asked for round "
                f"{before.round}: rounds must be at least 1, and round must not change"
            )
        for what in _changes(before, plan):
            if what in decided:
                raise UserError(f"{decided[what]} and {name} cannot be combined: both decide the {what} of a task")
            decided[what] = name
    return plan


def _changes(before: TrainingPlan, plan: TrainingPlan) -> list[str]:
    """Names of the parts in which two plans differ."""
    own = [one.name for one in fields(plan) if one.name != "options"]
    changed = [name for name in own if getattr(before, name) != getattr(plan, name)]
    return changed + [name for name in PLANNED if getattr(before.options, name) != getattr(plan.options, name)]
