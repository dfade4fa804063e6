"""KeepLoRA: factors by hand, a start without a change, branches outside of the spaces, and an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor

from clsuite.data.batch import gather
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.token_covariances import token_covariances
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.keeplora import KeepLoRA, free_factors


def test_factors_are_the_main_part_of_what_is_free() -> None:
    gradient = torch.tensor([[5.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    space = torch.eye(4)[:, :1]
    rows, columns = free_factors(gradient, space, 1)
    torch.testing.assert_close(columns @ rows, torch.tensor([[0.0] * 4, [0.0, 3.0, 0.0, 0.0], [0.0] * 4]))
    rows, columns = free_factors(gradient, space, 3)
    torch.testing.assert_close(columns @ rows, gradient * torch.tensor([0.0, 1.0, 1.0, 1.0]))
    torch.testing.assert_close(rows @ rows.T, torch.tensor([1.0, 1.0, 0.0]).diag())


class Look(Plugin):
    """Answers and weights before and behind the start of each task, and what a task adds to the weights."""

    def __init__(self, method: KeepLoRA) -> None:
        super().__init__()
        self.method = method
        self.inside: list[float] = []
        self.moved: list[float] = []
        self.sizes: list[list[int]] = []

    def before_task_training(self, learner: Learner, task: Task) -> None:
        self.answers, self.before = self.answer(learner), self.weights(learner)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        torch.testing.assert_close(self.answer(learner), self.answers, atol=1e-4, rtol=1e-4)
        self.spaces = {name: space.clone() for name, space in self.method._spaces.items()}
        self.sizes.append([space.shape[1] for space in self.spaces.values()])
        for name, space in self.spaces.items():
            down = self.method._down(name)
            torch.testing.assert_close(space.T @ space, torch.eye(space.shape[1]), atol=1e-5, rtol=0)
            torch.testing.assert_close(down @ down.T, torch.eye(len(down)), atol=1e-5, rtol=0)
            assert float((down @ space).abs().max()) < 1e-5

    def on_task_end(self, learner: Learner, task: Task) -> None:
        changes = {name: value - self.before[name] for name, value in self.weights(learner).items()}
        self.inside.append(max(float((changes[name] @ space).norm()) for name, space in self.spaces.items()))
        self.moved.append(min(float(change.norm()) for change in changes.values()))
        assert max(int(torch.linalg.matrix_rank(change, atol=1e-4)) for change in changes.values()) <= 4

    def weights(self, learner: Learner) -> dict[str, Tensor]:
        found = self.method.branch.adapted_weights(learner.backbone.model)
        return {name: weight.detach().clone() for name, weight in found.items()}

    @torch.no_grad()
    def answer(self, learner: Learner) -> Tensor:
        batch = gather(learner.scenario.table, learner.scenario.labels, learner.scenario.tasks[0].test[:16])
        assert batch.images is not None
        was = learner.training
        answer: Tensor = learner.eval().backbone(learner.backbone.normalize(batch.images))
        learner.train(was)
        return answer


@pytest.mark.slow
def test_a_task_changes_weights_outside_of_the_spaces_alone(make_stream: Any, scenario: Scenario) -> None:
    method = KeepLoRA(rank=4, weight_energy=0.5, input_energy=0.9)
    look = Look(method)
    stream = make_stream(method, look, on=scenario.first(2), loss="local", epochs=2)
    stream.run()
    assert max(look.inside) < 1e-4 < 1e-3 < min(look.moved)
    assert all(now >= then for then, now in zip(*look.sizes, strict=True))
    assert sum(look.sizes[1]) > sum(look.sizes[0])
    moment = token_covariances(stream.learner, scenario.tasks[1].train, [1])[0]
    space = method._spaces["1_q"].double()
    assert float((space.T @ moment @ space).trace() / moment.trace()) > 0.9 - 1e-6
    assert sum(value.numel() for value in method.branch.parameters() if value.requires_grad) == 2 * 4 * 4 * 192
    assert stream.tasks[0].gradient_samples == 3 * len(scenario.tasks[0].train)


def test_spaces_of_the_weights_are_of_inputs_or_as_in_the_code(make_stream: Any, scenario: Scenario) -> None:
    found = []
    for side in ("inputs", "outputs"):
        method = KeepLoRA(rank=4, weight_energy=0.5, weight_side=side)  # type: ignore[arg-type]
        learner = make_stream(method).learner
        learner.start(scenario)
        space, weight = method._spaces["0_q"], method.branch.adapted_weights(learner.backbone.model)["0_q"].detach()
        found.append([float((weight @ space).square().sum()), float((weight.T @ space).square().sum())])
        total = float(weight.square().sum())
    assert found[0][0] >= total / 2 > found[0][1]
    assert found[1][1] >= total / 2 > found[1][0]


@pytest.mark.nightly
def test_interrupted_and_resumed_it_ends_in_the_same_bits(make_stream: Any, scenario: Scenario, tmp_path: Path) -> None:
    given = {"on": scenario.first(2), "loss": "local"}
    alone = make_stream(KeepLoRA(rank=2), **given)
    alone.run()
    step, path = alone.tasks[1].steps - 1, tmp_path / "x.ckpt"
    assert bits(interrupted(make_stream, path, 1, step, lambda: [KeepLoRA(rank=2)], **given)) == bits(alone)


def test_a_head_of_zeros_is_refused(make_stream: Any, scenario: Scenario) -> None:
    """No gradient passes it, so that nothing would be trained but the head."""
    with pytest.raises(UserError, match=r"keeplora: training\.head_init is 0"):
        make_stream(KeepLoRA(rank=2), head_init=0.0).learner.start(scenario)


@pytest.mark.parametrize("given", [{"rank": 0}, {"weight_energy": 1.5}, {"input_energy": -1.0}])
def test_bad_arguments_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"keeplora: {next(iter(given))} is"):
        KeepLoRA(**given)
