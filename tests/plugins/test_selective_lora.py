"""Selective LoRA: switches, what they let through, and what closes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.peft.gated_lora import GatedLowRank
from clsuite.peft.lora import LowRank
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.selective_lora import SelectiveLoRA


def made(gate: float) -> GatedLowRank:
    draws = torch.Generator().manual_seed(0)
    part = GatedLowRank(LowRank(5, 3, 2, 1.0, False, draws), gate, 0.1)
    with torch.no_grad():
        part.up.normal_(generator=draws)
    return part


INPUTS = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))


def test_an_open_matrix_is_a_low_rank_one_and_a_closed_one_is_nothing() -> None:
    opened, closed = made(0.1), made(0.0999)
    plain = LowRank.forward(opened, INPUTS)
    assert torch.equal(opened(INPUTS), plain)
    assert torch.equal(opened.delta(), opened.up @ opened.down)
    assert not closed(INPUTS).any()
    assert not closed.delta().any()


def test_the_switch_gets_the_gradient_of_what_it_lets_through_also_where_it_is_closed() -> None:
    for gate in (0.15, 0.05):
        part = made(gate)
        weights = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
        (part(INPUTS) * weights).sum().backward()
        assert part.gate.grad is not None
        expected = (weights * (INPUTS @ (part.up @ part.down).T)).sum()
        torch.testing.assert_close(part.gate.grad, expected.detach())
        assert part.up.grad is not None
        assert part.up.grad.any() == (gate >= 0.1)


class Look(Plugin):
    """Keeps the switches at each step, and what the optimizer is told of them."""

    def __init__(self, method: SelectiveLoRA) -> None:
        super().__init__()
        self.method, self.steps, self.decays = method, list[tuple[int, float]](), set[float]()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        for group in trainer.optimizers[0].param_groups:
            if any(value is self.method.module.gates[0] for value in group["params"]):
                self.decays.add(group["weight_decay"])
        largest = max(gate.item() for gate in self.method.module.gates)
        self.steps.append((trainer.current_epoch, largest))


def test_the_penalty_closes_all_once_it_begins(make_stream: Any, scenario: Scenario) -> None:
    """At rate 0.02 a step of AdamW moves a switch by at most 0.02: six steps close it."""
    method = SelectiveLoRA(penalty=1e4, rank=2, switch_lr=0.02, free_epochs=1)
    look = Look(method)
    stream = make_stream(method, look, on=scenario.first(1), loss="local", epochs=3)
    before = {name: value.clone() for name, value in stream.learner.backbone.state_dict().items()}
    stream.run()
    penalized = [largest for epoch, largest in look.steps if epoch > 0]
    assert penalized[-1] < 0.1
    assert penalized == sorted(penalized, reverse=True)
    assert look.decays == {0.0}
    assert method.module.share_open() == 0
    learner, images = stream.learner.eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        answer = learner.backbone(images)
        with method.module.switched(False):
            assert torch.equal(learner.backbone(images), answer)
    assert all(torch.equal(value, before[name]) for name, value in learner.backbone.state_dict().items())


@pytest.mark.parametrize("training", [{"epochs": 1}, {"steps": 4}])
def test_the_penalty_begins_by_the_middle_of_a_task_of_one_epoch(
    training: dict[str, int], make_stream: Any, scenario: Scenario
) -> None:
    """Of four switches, each is moved by 0.1 in the first step with the penalty."""
    method = SelectiveLoRA(penalty=400.0, rank=2, switch_lr=0.001, free_epochs=1)
    look, sgd = Look(method), OptimizerSpec(name="sgd", lr=0.001)
    make_stream(method, look, on=scenario.first(1), loss="local", optimizer=sgd, **training).run()
    assert len(method.module.gates) == len(look.steps) == 4
    assert [largest < 0.1 for _, largest in look.steps] == [False, False, True, True]


def test_merging_adds_what_is_open_alone_and_opens_all_again(make_stream: Any, scenario: Scenario) -> None:
    method = SelectiveLoRA(penalty=0.0, rank=2, after_task="merge")
    seen: dict[str, torch.Tensor] = {}

    class Close(Plugin):
        """Closes the queries' switch of the first block at the first task's end."""

        def on_task_end(self, learner: Learner, task: Any) -> None:
            weight = learner.backbone.model.state_dict()["blocks.0.attn.qkv.weight"]
            if task.index == 0:
                part = method.module.parts["0_q"]
                assert isinstance(part, GatedLowRank)
                part.gate.data.fill_(0.05)
                seen["share"], seen["before"] = method.module.share_open(), weight.clone()
            else:
                seen["after"] = weight.clone()

        def on_task_start(self, learner: Learner, task: Any) -> None:
            seen["begun"] = method.module.share_open()

    make_stream(method, Close(), on=scenario.first(2), loss="local").run()
    parts = len(method.module.gates)
    assert seen["share"] == pytest.approx((parts - 1) / parts)
    changed = (seen["after"] != seen["before"]).chunk(3)
    assert [bool(piece.any()) for piece in changed] == [False, False, True]
    assert seen["begun"] == 1


def test_switches_that_begin_closed_are_refused() -> None:
    with pytest.raises(UserError, match=r"first_switch is 0\.05, below threshold 0\.1: all are off"):
        SelectiveLoRA(first_switch=0.05)
