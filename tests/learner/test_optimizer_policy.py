"""The optimizer of each task: new, or with the state of the last one."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from torch import nn

from clsuite.learner.head import GrowingHead
from clsuite.learner.optimizer import OptimizerPolicy
from clsuite.learner.options import TrainingSpec

KINDS = ["sgd", "adam", "adamw"]


class Model(nn.Module):
    """A body and a head that grows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(4, 3)
        self.head = GrowingHead(3)
        self.head.grow(2, torch.Generator().manual_seed(0))

    def step(self, optimizer: torch.optim.Optimizer, seed: int) -> None:
        features = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))
        self.head(self.body(features)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def spec(kind: str = "adam", recreate: bool = True, lr: float = 0.01, **training: Any) -> TrainingSpec:
    optimizer = {"name": kind, "lr": lr, "weight_decay": 0.01, **training.pop("optimizer", {})}
    return TrainingSpec.model_validate({"optimizer": optimizer, "recreate_optimizer": recreate, **training})


def configure(policy: OptimizerPolicy, model: nn.Module, steps: int = 10) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = policy.configure(model, None, steps)["optimizer"]
    return optimizer


def weights(model: nn.Module) -> list[list[float]]:
    return [parameter.flatten().tolist() for parameter in model.parameters()]


def two_tasks(kind: str, recreate: bool) -> Model:
    """Three steps, a new optimizer from the policy, three steps."""
    model, policy = Model(), OptimizerPolicy(spec(kind, recreate))
    for task in range(2):
        optimizer = configure(policy, model)
        for step in range(3):
            model.step(optimizer, 10 * task + step)
        policy.keep(model, optimizer)
    return model


def plain(kind: str, fresh: bool) -> Model:
    """The same six steps with PyTorch alone."""
    model = Model()

    def make() -> torch.optim.Optimizer:
        if kind == "sgd":
            return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.01)
        made = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind]
        return made(model.parameters(), lr=0.01, weight_decay=0.01, fused=True)

    optimizer = make()
    for task in range(2):
        if fresh and task:
            optimizer = make()
        for step in range(3):
            model.step(optimizer, 10 * task + step)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recreate", [True, False])
def test_it_is_pytorchs_optimizer_new_or_carried_on(kind: str, recreate: bool) -> None:
    assert weights(two_tasks(kind, recreate)) == weights(plain(kind, fresh=recreate))


@pytest.mark.parametrize("kind", KINDS)
def test_carrying_on_makes_a_difference(kind: str) -> None:
    assert weights(two_tasks(kind, True)) != weights(two_tasks(kind, False))


@pytest.mark.parametrize("kind", KINDS)
def test_old_parameters_carry_their_state_on_and_new_ones_start_fresh(kind: str) -> None:
    model, policy = Model(), OptimizerPolicy(spec(kind, recreate=False))
    first = configure(policy, model)
    model.step(first, 0)
    policy.keep(model, first)
    model.head.grow(2, torch.Generator().manual_seed(1))
    second = configure(policy, model)
    new = set(model.head.groups[1].parameters())
    for parameter in model.parameters():
        if parameter in new:
            assert parameter not in second.state
        else:
            assert set(second.state[parameter]) == set(first.state[parameter])
            for key, value in first.state[parameter].items():
                assert torch.equal(second.state[parameter][key], value)
    model.step(second, 1)
    assert len(second.state) == len(list(model.parameters()))


def test_a_parameter_that_the_model_does_not_have_starts_fresh_in_each_task() -> None:
    model, policy = Model(), OptimizerPolicy(spec(recreate=False))
    stranger = nn.Parameter(torch.zeros(1))
    for _ in range(2):
        groups = [{"params": [*model.body.parameters(), stranger]}]
        optimizer = policy.configure(model, groups, 10)["optimizer"]
        assert stranger not in optimizer.state
        stranger.grad = torch.ones(1)
        model.step(optimizer, 0)
        policy.keep(model, optimizer)
    assert set(policy.state_dict()) == {"body.weight", "body.bias"}


def test_nothing_is_kept_where_optimizers_are_new() -> None:
    model, policy = Model(), OptimizerPolicy(spec())
    optimizer = configure(policy, model)
    model.step(optimizer, 0)
    policy.keep(model, optimizer)
    assert policy.state_dict() == {}
    assert not configure(policy, model).state


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_survives_an_interruption(kind: str) -> None:
    """Through a file, into another process's model and policy; then both go on alike, to the bit."""
    model, policy = Model(), OptimizerPolicy(spec(kind, recreate=False))
    optimizer = configure(policy, model)
    for step in range(3):
        model.step(optimizer, step)
    policy.keep(model, optimizer)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "policy": policy.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other_model, other_policy = Model(), OptimizerPolicy(spec(kind, recreate=False))
    other_model.load_state_dict(state["model"])
    other_policy.load_state_dict(state["policy"])
    for one, its_policy in ((model, policy), (other_model, other_policy)):
        again = configure(its_policy, one)
        for step in range(3):
            one.step(again, 10 + step)
    assert weights(other_model) == weights(model)


def test_state_is_kept_by_name() -> None:
    model, policy = Model(), OptimizerPolicy(spec(recreate=False))
    optimizer = configure(policy, model)
    model.step(optimizer, 0)
    policy.keep(model, optimizer)
    assert set(policy.state_dict()) == {"body.weight", "body.bias", "head.groups.0.weight", "head.groups.0.bias"}


def rates(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, float]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}


def test_the_head_has_a_rate_of_its_own() -> None:
    model = Model()
    found = rates(configure(OptimizerPolicy(spec(lr=0.01, optimizer={"head_lr": 0.1})), model), model)
    assert {name: found[name] for name in found if name.startswith("head")} == {
        "head.groups.0.weight": 0.1,
        "head.groups.0.bias": 0.1,
    }
    assert {found["body.weight"], found["body.bias"]} == {0.01}


def test_without_one_it_has_that_of_the_body() -> None:
    model = Model()
    assert set(rates(configure(OptimizerPolicy(spec(lr=0.02)), model), model).values()) == {0.02}


def test_frozen_parameters_are_left_out() -> None:
    model = Model()
    model.body.requires_grad_(False)
    assert set(rates(configure(OptimizerPolicy(spec()), model), model)) == {
        "head.groups.0.weight",
        "head.groups.0.bias",
    }


def test_groups_of_a_plugin_are_taken_as_they_are() -> None:
    model = Model()
    groups = [{"params": [model.body.weight], "lr": 0.5}, {"params": [model.body.bias]}]
    optimizer = OptimizerPolicy(spec(lr=0.02)).configure(model, groups, 10)["optimizer"]
    assert rates(optimizer, model) == {"body.weight": 0.5, "body.bias": 0.02}


@pytest.mark.parametrize(
    ("kind", "expected"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_kinds(kind: str, expected: type[torch.optim.Optimizer]) -> None:
    optimizer = configure(OptimizerPolicy(spec(kind, optimizer={"weight_decay": 0.3})), Model())
    assert type(optimizer) is expected
    assert optimizer.defaults["weight_decay"] == 0.3


def test_momentum_is_that_of_sgd() -> None:
    optimizer = configure(OptimizerPolicy(spec("sgd", optimizer={"momentum": 0.5})), Model())
    assert optimizer.defaults["momentum"] == 0.5


def schedule(steps: int, **training: Any) -> list[float]:
    """Rate of each step of a task, as a share of the full one."""
    model = Model()
    answer = OptimizerPolicy(spec("sgd", lr=1.0, **training)).configure(model, None, steps)
    assert answer["lr_scheduler"]["interval"] == "step"
    found = []
    for _ in range(steps):
        found.append(answer["optimizer"].param_groups[0]["lr"])
        answer["optimizer"].step()
        answer["lr_scheduler"]["scheduler"].step()
    return found


def test_a_constant_rate() -> None:
    assert schedule(4) == [1.0] * 4


def test_a_cosine_goes_from_one_to_zero_over_the_task() -> None:
    expected = [0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert schedule(8, schedule="cosine") == pytest.approx(expected)
    assert expected[0] == 1


def test_warm_up_is_linear_and_then_the_rate_is_full() -> None:
    assert schedule(6, warmup_steps=3) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_warm_up_before_a_cosine() -> None:
    after = [0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert schedule(5, schedule="cosine", warmup_steps=1) == pytest.approx([0.5, *after])


def test_a_warm_up_longer_than_the_task() -> None:
    assert schedule(2, schedule="cosine", warmup_steps=3) == pytest.approx([0.25, 0.5])


def test_the_schedule_starts_again_with_each_task_although_the_state_is_carried_on() -> None:
    model, policy = Model(), OptimizerPolicy(spec(recreate=False, schedule="cosine"))
    seen = []
    for _ in range(2):
        answer = policy.configure(model, None, 3)
        optimizer, scheduler = answer["optimizer"], answer["lr_scheduler"]["scheduler"]
        seen.append([])
        for step in range(3):
            seen[-1].append(optimizer.param_groups[0]["lr"])
            model.step(optimizer, step)
            scheduler.step()
        policy.keep(model, optimizer)
    assert seen[0] == seen[1]
    assert seen[0][0] == 0.01


def test_the_state_of_replaced_weights_alone_is_forgotten() -> None:
    model, policy = Model(), OptimizerPolicy(spec(recreate=False))
    optimizer = configure(policy, model)
    model.step(optimizer, 0)
    policy.keep(model, optimizer)
    policy.forget("head.")
    assert set(policy.state_dict()) == {"body.weight", "body.bias"}
    policy.forget()
    assert not policy.state_dict()
