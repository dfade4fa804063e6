"""The update of an optimizer's step, transformed by plugins: projections that hold after AdamW with weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.training_plan import TrainingPlan
from clsuite.peft import attach_pet
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.finetune import Finetune

ADAMW = {"name": "adamw", "lr": 0.02, "weight_decay": 0.3}


class Projects(Plugin):
    """LoRA that may read no direction of earlier inputs: its first factors start orthogonal to them, and stay so."""

    state = ("used",)

    def __init__(self, project: bool = True) -> None:
        super().__init__()
        self.project, self.used = project, torch.zeros(0)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        self.lora = attach_pet(
            learner, self, "lora", "lora", size=4, blocks="all", generator=learner.generator("projects")
        )
        width = learner.backbone.width
        draws = torch.randn(width, 20, generator=learner.generator("used"))
        self.used = torch.linalg.qr(draws).Q
        with torch.no_grad():
            for name, value in self.lora.named_parameters():
                if name.endswith("down"):
                    value -= value @ self.used @ self.used.T

    def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self.project:
            return updates
        return {name: one - one @ self.used @ self.used.T for name, one in updates.items() if name.endswith("down")}

    def overlap(self) -> float:
        factors = [value.detach() for name, value in self.lora.named_parameters() if name.endswith("down")]
        return max(float((factor @ self.used).abs().max()) for factor in factors)

    def length(self) -> float:
        return min(
            float(value.detach().norm()) for name, value in self.lora.named_parameters() if name.endswith("down")
        )


@pytest.mark.slow
@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_projection_holds_after_adamw_with_weight_decay(clip: float | None, make_stream: Any) -> None:
    overlaps = {}
    for project in (True, False):
        plugin = Projects(project)
        make_stream(plugin, optimizer=ADAMW, gradient_clip=clip).run()
        overlaps[project] = plugin.overlap() / plugin.length()
    assert overlaps[True] < 1e-6
    assert overlaps[False] > 1e-3


@pytest.mark.slow
def test_updates_that_are_given_back_as_they_are_change_no_bit(make_stream: Any) -> None:
    class Looks(Finetune):
        def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            return updates

    streams = [make_stream(one, optimizer=ADAMW, epochs=2) for one in (Looks(), Finetune())]
    for stream in streams:
        stream.run()
    assert bits(streams[0]) == bits(streams[1])


class Shortens(Plugin):
    """Cuts the update of the head to a length."""

    def __init__(self, most: float = 0.01) -> None:
        super().__init__()
        self.most, self.given = most, list[float]()

    def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        self.given.append(float(updates["head.groups.0.weight"].norm()))
        return {name: one * (self.most / one.norm()) for name, one in updates.items() if name == "head.groups.0.weight"}


class Doubles(Plugin):
    """Doubles all updates."""

    def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: 2 * one for name, one in updates.items()}


class Lengths(Plugin):
    """Keeps how far the head goes in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.before = pl_module.head.groups[0].weight.detach().clone()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.lengths.append(float((pl_module.head.groups[0].weight.detach() - self.before).norm()))


def test_plugins_transform_in_the_order_of_the_method(make_stream: Any, scenario: Scenario) -> None:
    for order, expected in (([Doubles(), Shortens()], 0.01), ([Shortens(), Doubles()], 0.02)):
        lengths = Lengths()
        make_stream(*order, lengths, on=scenario.first(1)).run()
        assert lengths.lengths == pytest.approx([expected] * len(lengths.lengths), rel=1e-3)


def test_it_is_the_update_of_all_optimizers_where_groups_have_their_own(make_stream: Any, scenario: Scenario) -> None:
    class Groups(Plugin):
        def parameter_groups(self, learner: Learner) -> list[dict[str, Any]]:
            return [
                {"params": list(learner.backbone.parameters()), "lr": 1e-4},
                {"params": list(learner.head.parameters()), "lr": 0.1, "optimizer": "sgd"},
            ]

    lengths = Lengths()
    stream = make_stream(Groups(), Shortens(), lengths, on=scenario.first(1), optimizer=ADAMW)
    start = stream.learner.backbone.state_dict()["model.blocks.1.mlp.fc1.weight"].clone()
    stream.run()
    assert lengths.lengths == pytest.approx([0.01] * len(lengths.lengths), rel=1e-3)
    assert not torch.equal(start, stream.learner.backbone.state_dict()["model.blocks.1.mlp.fc1.weight"])


class Anneals(Projects):
    """The same in two epochs, with a schedule."""

    def plan_training(self, learner: Learner, task: Any, plan: TrainingPlan) -> TrainingPlan:
        return plan.with_options(epochs=2, schedule="quarter_cosine")


@pytest.mark.slow
def test_interrupted_and_resumed_it_ends_in_the_same_bits(make_stream: Any, tmp_path: Path) -> None:
    alone = make_stream(Anneals(), optimizer=ADAMW)
    alone.run()
    step = alone.tasks[1].steps - 1
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, step, lambda: [Anneals()], optimizer=ADAMW)
    for mine, his in zip(bits(again), bits(alone), strict=True):
        assert mine == his


def test_an_update_of_something_else_is_told(make_stream: Any) -> None:
    class Misnames(Plugin):
        def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            return {"head.groups.0.wieght": updates["head.groups.0.weight"]}

    class Misshapes(Plugin):
        def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            return {"head.groups.0.weight": updates["head.groups.0.weight"].T}

    class Scales(Plugin):
        def transform_update(self, learner: Learner, updates: Mapping[str, Tensor]) -> Mapping[str, Any]:
            return {"head.groups.0.weight": 0.5}

    with pytest.raises(
        UserError, match=r"the update of 'head\.groups\.0\.weight' is 0\.5, but the weight has the shape"
    ):
        make_stream(Scales()).run()
    with pytest.raises(UserError, match=r"head\.groups\.0\.weight"):
        make_stream(Misnames()).run()
    with pytest.raises(UserError, match="has the shape"):
        make_stream(Misshapes()).run()


def test_a_parameter_that_the_learner_does_not_have_is_updated_as_it_is(make_stream: Any) -> None:
    class Strange(Shortens):
        def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
            self.own = [torch.nn.Parameter(torch.ones(1))]

        def parameter_groups(self, learner: Learner) -> list[dict[str, Any]]:
            return [{"params": [*learner.head.parameters(), *self.own], "lr": 0.01}]

        def loss(self, learner: Learner, step: Any) -> Tensor:
            return self.own[0].square().sum()

    plugin = Strange()
    make_stream(plugin).run()
    assert plugin.own[0].item() < 1
