"""GEM: its quadratic program by all sets of active bounds and by quadprog, its memories, and A-GEM as a case of it."""

from __future__ import annotations

import dataclasses
from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.agem import AGEM
from clsuite_plugins.gem import GEM, dual_weights


def random_program(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three memories and a gradient of 20 entries that conflicts with some of them."""
    generator = torch.Generator().manual_seed(seed)
    memories = torch.randn(3, 20, generator=generator)
    return memories, torch.randn(20, generator=generator) - memories[0] - 0.5 * memories[1]


def objective(memories: torch.Tensor, gradient: torch.Tensor, ridge: float, v: np.ndarray[Any, Any]) -> float:
    gram = (memories @ memories.T).double().numpy() + ridge * np.eye(len(memories))
    return float(v @ gram @ v / 2 + v @ (memories @ gradient).double().numpy())


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_the_program_is_solved_as_by_trying_all_sets_of_active_bounds(strength: float) -> None:
    for seed in range(5):
        memories, gradient = random_program(seed)
        gram = (memories @ memories.T).double().numpy() + 1e-3 * np.eye(3)
        linear = (memories @ gradient).double().numpy()
        candidates = []
        for active in chain.from_iterable(combinations(range(3), number) for number in range(4)):
            free = [place for place in range(3) if place not in active]
            v = np.full(3, strength)
            if free:
                right = -linear[free] - gram[np.ix_(free, [*active])].sum(axis=1) * strength
                v[free] = np.linalg.solve(gram[np.ix_(free, free)], right)
            if (v >= strength - 1e-12).all():
                candidates.append(v)
        best = min(candidates, key=lambda v: objective(memories, gradient, 1e-3, v))
        found = dual_weights(memories, gradient, strength, 1e-3).numpy()
        np.testing.assert_allclose(found, best, rtol=1e-4, atol=1e-5)


def test_the_program_is_solved_as_by_quadprog() -> None:
    quadprog = pytest.importorskip("quadprog")
    memories, gradient = random_program(7)
    gram = (memories @ memories.T).double().numpy() + 1e-3 * np.eye(3)
    linear = (memories @ gradient).double().numpy()
    expected = quadprog.solve_qp(gram, -linear, np.eye(3), np.full(3, 0.5))[0]
    np.testing.assert_allclose(dual_weights(memories, gradient, 0.5, 1e-3).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_with_one_memory_and_no_margin_it_is_the_projection_of_agem() -> None:
    memories, gradient = random_program(0)
    reference = memories[0]
    assert gradient @ reference < 0
    ours = gradient + dual_weights(memories[:1], gradient, 0.0, 1e-9) @ memories[:1]
    theirs = gradient - gradient @ reference / (reference @ reference) * reference
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


class Watch(Plugin):
    """Compares each projected gradient with the memories of a GEM before it."""

    def __init__(self, gem: GEM) -> None:
        super().__init__()
        self.gem = gem
        self.overlaps: list[float] = []

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        moved = [value for value in pl_module.parameters() if value.grad is not None]
        gradient = torch.cat([value.grad.flatten() for value in moved])
        for positions in getattr(self.gem, "_memories", []):
            step = pl_module.rehearse(self.gem.buffer.batch(positions))
            loss = torch.nn.functional.cross_entropy(step.logits, step.batch.labels)
            row = torch.cat([one.flatten() for one in torch.autograd.grad(loss, moved)])
            self.overlaps.append(float(gradient @ row / gradient.norm() / row.norm()))


@pytest.mark.slow
def test_no_step_conflicts_with_the_memory_of_an_earlier_task(make_stream: Any, scenario: Scenario) -> None:
    gem = GEM(capacity=14, strength=0.0, ridge=1e-6)
    watch = Watch(gem)
    stream = make_stream(gem, watch)
    stream.run()
    assert len(watch.overlaps) == stream.tasks[1].steps + 2 * stream.tasks[2].steps
    assert min(watch.overlaps) > -1e-3
    of_each = [int(np.isin(gem.buffer.indices.numpy(), task.train).sum()) for task in scenario.tasks]
    assert of_each == [4, 4, 4]  # 14 // 3
    own = [len(task.train) for task in scenario.tasks]
    passed = [4 * number * task.steps for number, task in enumerate(stream.tasks)]
    assert [task.gradient_samples for task in stream.tasks] == [
        one + more for one, more in zip(own, passed, strict=True)
    ]


def test_a_memory_smaller_than_the_number_of_tasks_is_refused(make_stream: Any, scenario: Scenario) -> None:
    learner: Learner = make_stream(GEM(capacity=2)).learner
    with pytest.raises(UserError, match="gem: a memory of 2 exemplars is too small for 3 tasks: give it a capacity of"):
        learner.start(scenario)


def test_a_task_that_recurs_is_one_constraint(make_stream: Any, scenario: Scenario) -> None:
    first, second = scenario.tasks[:2]
    tasks = tuple(dataclasses.replace(one, index=place) for place, one in enumerate((first, first, second)))
    recurring = dataclasses.replace(scenario, kind="recurring", tasks=tasks)
    learner: Learner = make_stream(gem := GEM(capacity=12), on=recurring).learner
    learner.start(recurring)
    for task in tasks[:2]:
        learner.begin_task(task)
        learner.end_task(task)
    learner.begin_task(tasks[2])
    assert [len(positions) for positions in gem._memories] == [len(gem.buffer)]


@pytest.mark.parametrize("plugin", [GEM(), AGEM()])
def test_a_precision_that_scales_one_of_the_gradients_is_refused(
    plugin: Any, make_stream: Any, scenario: Scenario
) -> None:
    learner: Learner = make_stream(plugin).learner
    learner.start(scenario)
    learner.options = learner.options.model_copy(update={"precision": "16"})
    with pytest.raises(UserError, match=r"gem: precision 16 scales gradients, .* use bf16 or 32"):
        plugin.on_task_start(learner, scenario.tasks[0])
