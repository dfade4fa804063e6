"""How a task is trained, as plugins plan it: epochs, optimizers, rounds of one task, and the end of the stream."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from every_hook import EveryHook
from interruptions import AT_ONCE, StoppedError, bits
from torch import Tensor

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.training_plan import TrainingPlan
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite.stream.task_checkpoint import task_path
from clsuite.stream.within_task_spec import EvaluationSpec
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.replay import Replay


class Plans(Plugin):
    """Trains the first task longer than the others."""

    def __init__(self, first: int = 3, **given: Any) -> None:
        super().__init__()
        self.first, self.given = first, given
        self.told: list[Any] = []

    def plan_training(self, learner: Learner, task: Any, plan: TrainingPlan) -> TrainingPlan:
        given = {**self.given, **({"epochs": self.first} if task.index == 0 else {})}
        return plan.with_options(**given)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        (optimizer,) = trainer.optimizers
        kind = type(optimizer).__name__, pl_module.options.batch_size, pl_module.options.epochs
        self.told.append((*kind, trainer.max_epochs, optimizer.param_groups[0]["lr"]))


def test_epochs_and_optimizer_are_those_of_the_task(make_stream: Any) -> None:
    plans = Plans(3, optimizer={"name": "sgd", "lr": 0.25}, batch_size=6)
    stream = make_stream(plans)
    stream.run()
    batches = [-(-len(task.train) // 6) for task in stream.scenario.tasks]
    assert [task.steps for task in stream.tasks] == [3 * batches[0], *batches[1:]]
    assert plans.told == [("SGD", 6, 3, 3, 0.25), ("SGD", 6, 1, 1, 0.25), ("SGD", 6, 1, 1, 0.25)]


@pytest.mark.slow
def test_a_plan_that_says_what_the_benchmark_says_changes_no_bit(make_stream: Any) -> None:
    training = {"epochs": 2, "augment": "crop_flip", "schedule": "cosine"}
    plain, planned = make_stream(Replay(12), **training), make_stream(Plans(2), Replay(12), **training)
    for stream in (plain, planned):
        stream.run()
    assert bits(plain) == bits(planned)


class Rounds(Plugin):
    """Plans as many rounds as it is told."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds

    def plan_training(self, learner: Learner, task: Any, plan: TrainingPlan) -> TrainingPlan:
        return dataclasses.replace(plan, rounds=self.rounds)


@pytest.mark.slow
def test_two_that_decide_the_same_differently_are_refused(make_stream: Any) -> None:
    with pytest.raises(UserError, match="Rounds and Rounds cannot be combined: both decide the rounds"):
        make_stream(Rounds(2), Rounds(3)).run()
    make_stream(Rounds(2), Plans(2), Rounds(2)).run()


def test_mistakes_of_a_plan_are_told(make_stream: Any, scenario: Scenario) -> None:
    plan = TrainingPlan(make_stream(Finetune()).learner.options)
    with pytest.raises(UserError, match="epoch"):
        plan.with_options(epoch=3)
    with pytest.raises(UserError, match="epochs is 0"):
        plan.with_options(epochs=0)
    with pytest.raises(UserError, match="a schedule is a name or a function"):
        plan.with_options(schedule={"class": "torch.optim.lr_scheduler:StepLR", "step_size": 1})
    with pytest.raises(UserError, match="rounds must be at least 1"):
        make_stream(Rounds(0)).run()


def test_a_stream_that_passes_once_is_passed_once(make_stream: Any, scenario: Scenario) -> None:
    online = build_scenario(scenario.table, ScenarioSpec(kind="online", tasks=5), seed=0, train_per_class=8).first(2)
    with pytest.raises(UserError, match="passes once"):
        make_stream(Rounds(2), on=online).run()


class Local(Plugin):
    """Plans a local loss for later tasks."""

    def plan_training(self, learner: Learner, task: Any, plan: TrainingPlan) -> TrainingPlan:
        return plan.with_options(loss="local") if task.index else plan


def test_a_local_loss_is_not_planned_for_one_class(make_stream: Any, scenario: Scenario) -> None:
    first, second, _ = scenario.tasks
    alone = dataclasses.replace(second, classes=second.classes[1:])
    with pytest.raises(UserError, match=r"^task 1 \(.*\) has one class, .* its loss is exactly 0"):
        make_stream(Local(), on=dataclasses.replace(scenario, tasks=(first, alone))).run()


class Soup(Plugin):
    """Trains each task some times from one start, and goes on with the mean of the ends."""

    state = ("ends",)

    def __init__(self, rounds: int = 3) -> None:
        super().__init__()
        self.rounds = rounds
        self.ends: list[dict[str, Tensor]] = []
        self.start: dict[str, Tensor] = {}
        self.said: list[int] = []

    def plan_training(self, learner: Learner, task: Any, plan: TrainingPlan) -> TrainingPlan:
        return dataclasses.replace(plan.with_options(epochs=1 + plan.round), rounds=self.rounds)

    def on_task_start(self, learner: Learner, task: Any) -> None:
        self.ends, self.start = [], {name: value.detach().clone() for name, value in learner.named_parameters()}

    @torch.no_grad()
    def on_round_end(self, learner: Learner, task: Any, round: int) -> None:
        self.said.append(round)
        self.ends.append({name: value.detach().clone() for name, value in learner.named_parameters()})
        for name, value in learner.named_parameters():
            last = torch.stack([end[name] for end in self.ends]).mean(dim=0)
            value.copy_(last if round + 1 == self.rounds else self.start[name])


@pytest.mark.slow
def test_rounds_begin_anew_and_their_steps_add_up(make_stream: Any) -> None:
    soup = Soup()
    stream, plain = make_stream(soup, augment="crop_flip"), make_stream(Finetune(), augment="crop_flip")
    for one in (stream, plain):
        one.run()
    assert soup.said == [0, 1, 2] * 3
    assert [task.steps for task in stream.tasks] == [6 * task.steps for task in plain.tasks]
    assert [task.gradient_samples for task in stream.tasks] == [6 * task.gradient_samples for task in plain.tasks]
    for name, value in stream.learner.named_parameters():
        ends = torch.stack([end[name] for end in soup.ends])
        assert torch.equal(value, ends.mean(dim=0)), name
    assert any(not torch.equal(soup.ends[0][name], soup.ends[1][name]) for name in soup.ends[0])


def test_the_first_round_is_the_plain_training_bit_for_bit(make_stream: Any, scenario: Scenario) -> None:
    soup, training = Soup(2), {"augment": "crop_flip", "on": scenario.first(1)}
    make_stream(soup, **training).run()
    plain = make_stream(Finetune(), **training)
    plain.run()
    for name, value in plain.learner.named_parameters():
        assert torch.equal(value, soup.ends[0][name]), name


class StopsInRound(Plugin):
    """Ends the training before a step of a round of the second task."""

    def __init__(self, round: int = -1, step: int = -1) -> None:
        super().__init__()
        self.at, self.begun = (round, step), list[tuple[int, int]]()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        here = (pl_module.plan.round, trainer.global_step)
        if pl_module.task.index == 1:
            if here == self.at:
                raise StoppedError
            self.begun.append(here)


@pytest.mark.slow
@pytest.mark.parametrize("round", [1, *(pytest.param(other, marks=pytest.mark.nightly) for other in (0, 2))])
def test_interrupted_in_a_round_it_goes_on_there_and_ends_in_the_same_bits(
    round: int, make_stream: Any, tmp_path: Path
) -> None:
    def stream(stop: StopsInRound, **more: Any) -> Any:
        made = make_stream(Soup(), augment="crop_flip", **more)
        made.evaluation = EvaluationSpec(every=4)
        made.__post_init__()
        made.observers, made.checkpoint_minutes = [stop], AT_ONCE
        return made

    alone = stream(StopsInRound())
    alone.run()
    first = stream(StopsInRound(round, 2), checkpoint=tmp_path / "x.ckpt")
    with pytest.raises(StoppedError):
        first.run()
    assert task_path(tmp_path / "x.ckpt").exists()
    stop = StopsInRound()
    again = stream(stop, checkpoint=tmp_path / "x.ckpt")
    again.run()
    assert stop.begun[0] == (round, 2)
    for mine, his in zip(bits(again), bits(alone), strict=True):
        assert mine == his


@pytest.mark.slow
@pytest.mark.parametrize("round", [1, pytest.param(0, marks=pytest.mark.nightly)])
def test_a_method_with_every_hook_goes_on_where_it_was(round: int, make_stream: Any, tmp_path: Path) -> None:
    """Optimizers of several kinds, transformed updates and images, soft labels, and a loop before the task."""

    def stream(stop: StopsInRound, **more: Any) -> Any:
        made = make_stream(EveryHook(), Replay(12), augment="crop_flip", **more)
        made.observers, made.checkpoint_minutes = [stop], AT_ONCE
        return made

    alone, stop = stream(StopsInRound()), StopsInRound()
    alone.run()
    with pytest.raises(StoppedError):
        stream(StopsInRound(round, 2), checkpoint=tmp_path / "x.ckpt").run()
    again = stream(stop, checkpoint=tmp_path / "x.ckpt")
    again.run()
    assert stop.begun[0] == (round, 2)
    for mine, his in zip(bits(again), bits(alone), strict=True):
        assert mine == his


@pytest.mark.slow
def test_curves_and_accuracy_within_the_task_run_through_all_rounds(make_stream: Any) -> None:
    stream = make_stream(Soup())
    stream.evaluation = EvaluationSpec(every=4)
    stream.__post_init__()
    stream.run()
    for task, curve in zip(stream.tasks, stream.within_task.entry().tasks, strict=True):
        assert curve.steps[0] == 0
        assert curve.steps[-1] == task.steps
        assert curve.steps == sorted(set(curve.steps))
        assert len(curve.steps) > task.steps // 4
    loss = stream.curves.curves()["loss"]
    assert [int(loss.step[loss.task == number].max()) for number in range(3)] == [one.steps for one in stream.tasks]


class Ends(Plugin):
    """Sets the head's bias at the end of the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[int] = []

    def on_task_end(self, learner: Learner, task: Any) -> None:
        assert not self.ended

    @torch.no_grad()
    def on_stream_end(self, learner: Learner, scenario: Scenario) -> None:
        assert learner.task is not None
        self.ended.append(learner.task.index)
        learner.head.groups[0].bias += 100  # type: ignore[operator, union-attr, index]


def test_the_stream_ends_once_and_before_the_last_evaluation(make_stream: Any) -> None:
    ends = Ends()
    stream = make_stream(ends)
    stream.run()
    assert ends.ended == [2]
    assert set(stream.matrix.class_incremental[3].tolist()) <= {0, 1}
    assert not set(stream.matrix.class_incremental[2].tolist()) <= {-1, 0, 1}
