"""Schedules against PyTorch's and against what the codes of methods write."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner.optimizer import OptimizerPolicy
from clsuite.learner.options import SCHEDULES, TrainingSpec
from clsuite.learner.schedules import NAMED, Moment, Schedule, multi_step, with_warmup
from clsuite.learner.training_plan import TrainingPlan


def factors(schedule: Schedule, steps: int, epochs: int = 1) -> list[float]:
    return [schedule(Moment(step, steps, epochs)) for step in range(steps)]


def of_torch(make: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("steps", [4, 10, 97])
def test_one_cycle_is_that_of_torch(steps: int) -> None:
    theirs = of_torch(lambda one: torch.optim.lr_scheduler.OneCycleLR(one, 1.0, total_steps=steps), steps)
    assert factors(NAMED["one_cycle"], steps) == pytest.approx(theirs, abs=1e-9)


def test_multi_step_is_that_of_torch_epoch_by_epoch() -> None:
    theirs = of_torch(lambda one: torch.optim.lr_scheduler.MultiStepLR(one, [2, 4], 0.1), 5)
    assert factors(multi_step([2, 4]), 15, 5) == pytest.approx([rate for rate in theirs for _ in range(3)])
    with pytest.raises(UserError, match="milestones has -1"):
        multi_step([-1])


def test_a_quarter_of_a_cosine_stays_for_an_epoch_and_ends_near_zero() -> None:
    found = factors(NAMED["quarter_cosine"], 6, 3)
    expected = [math.cos(99 * math.pi * epoch / (200 * 2)) for epoch in range(3)]
    assert found == pytest.approx([rate for rate in expected for _ in range(2)])
    assert found[-1] == pytest.approx(math.cos(0.495 * math.pi))
    assert factors(NAMED["quarter_cosine"], 3, 1) == [1.0] * 3


def test_every_name_of_a_benchmark_has_its_schedule() -> None:
    assert NAMED.keys() == SCHEDULES.keys()
    for name in NAMED:
        assert TrainingSpec.model_validate({"schedule": name}).schedule == name


def test_warm_up_comes_before_any_of_them() -> None:
    factor = with_warmup(multi_step([1], 0.5), 2, 6, 2)
    assert [factor(step) for step in range(6)] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0, 0.5, 0.5])


def two_kinds(policy: OptimizerPolicy, plan: TrainingPlan | None = None) -> tuple[Any, list[torch.nn.Parameter]]:
    generator = torch.Generator().manual_seed(0)
    values = [torch.nn.Parameter(torch.randn(3, generator=generator)) for _ in range(3)]
    groups = [
        {"params": [values[0]], "lr": 0.1, "optimizer": "sgd", "schedule": multi_step([1])},
        {"params": [values[1]], "lr": 0.01},
        {"params": [values[2]], "lr": 0.2, "optimizer": {"name": "sgd", "weight_decay": 0.1}, "schedule": "constant"},
    ]
    model = torch.nn.ParameterDict({str(number): value for number, value in enumerate(values)})
    return policy.configure(model, groups, 4, plan), values


def take(made: Any, values: list[torch.nn.Parameter], steps: int) -> None:
    for _ in range(steps):
        for value in values:
            value.grad = value.detach() + 1
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()


def test_each_group_has_the_optimizer_and_the_schedule_that_it_asks_for() -> None:
    """Against optimizers of PyTorch's own, one for each group."""
    options = TrainingSpec.model_validate(
        {"optimizer": {"name": "adamw", "lr": 0.5}, "schedule": "cosine", "epochs": 2}
    )
    made, values = two_kinds(OptimizerPolicy(options))
    generator = torch.Generator().manual_seed(0)
    theirs = [torch.nn.Parameter(torch.randn(3, generator=generator)) for _ in range(3)]
    optimizers = [
        torch.optim.SGD([theirs[0]], lr=0.1, momentum=0.9), torch.optim.AdamW([theirs[1]], lr=0.01, weight_decay=0.0),
        torch.optim.SGD([theirs[2]], lr=0.2, momentum=0.9, weight_decay=0.1),
    ]  # fmt: skip
    for step in range(4):
        for value in theirs:
            value.grad = value.detach() + 1
        rates = (0.1 * (1.0 if step < 2 else 0.1), 0.01 * 0.5 * (1 + math.cos(math.pi * step / 4)), 0.2)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
    take(made, values, 4)
    for value, other in zip(values, theirs, strict=True):
        torch.testing.assert_close(value, other)


def test_several_optimizers_are_saved_and_taken_up_as_one() -> None:
    options = TrainingSpec.model_validate({"optimizer": {"name": "adamw", "lr": 0.5}, "schedule": "cosine"})
    (first, values), (second, others) = (two_kinds(OptimizerPolicy(options)) for _ in range(2))
    take(first, values, 2)
    for value, other in zip(values, others, strict=True):
        other.data.copy_(value.data)
    second["optimizer"].load_state_dict(copy.deepcopy(first["optimizer"].state_dict()))
    scheduler = second["lr_scheduler"]["scheduler"]
    scheduler.load_state_dict(first["lr_scheduler"]["scheduler"].state_dict())
    for made, those in ((first, values), (second, others)):
        take(made, those, 2)
    for value, other in zip(values, others, strict=True):
        assert torch.equal(value, other)


def test_a_group_that_names_nothing_known_is_refused() -> None:
    policy, model = OptimizerPolicy(TrainingSpec()), torch.nn.Linear(1, 1)
    for group, message in (
        ({"schedule": "cosin"}, "did you mean 'cosine'|cosine"),
        ({"optimizer": "sdg"}, "sgd"),
        ({"optimizer": {"name": "sgd", "rate": 1}}, "rate"),
    ):
        with pytest.raises(UserError, match=message):
            policy.configure(model, [{"params": [*model.parameters()], **group}], 4)
