"""TUNA: kept adapters, the elected one, the choice by entropy, and the head of cosines."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.peft import build_pet
from clsuite.plugin import Scenario, Task
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.runner.model_file import TrainedModel
from clsuite_plugins.pet import Pet
from clsuite_plugins.tuna import TUNA, elected, least_uncertain

TRAINING = {"loss": "local", "head": "cosine", "optimizer": OptimizerSpec(name="sgd", lr=0.3, head_lr=0.03)}
SMALL = {"size": 4, "samples": 16, "align_epochs": 3}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_copies_of_one_adapter_elect_it() -> None:
    one = drawn(4, 5)
    assert torch.equal(elected(one[None]), one)
    assert torch.equal(elected(torch.stack([one] * 3)), one)


def test_the_elected_sign_is_that_of_the_mean_and_the_value_the_largest_of_it() -> None:
    values = torch.tensor([[3.0, -1.0, 0.5, 1.0], [-1.0, -4.0, 0.2, -1.0], [-1.0, 3.0, 0.1, 0.0]])
    assert elected(values).tolist() == [3.0, -4.0, 0.5, 0.0]
    many = drawn(5, 200)
    merged = elected(many)
    assert torch.equal(merged.sign(), many.mean(dim=0).sign())
    for place in range(200):
        agreeing = [abs(float(value)) for value in many[:, place] if value.sign() == merged[place].sign()]
        assert abs(float(merged[place])) == max(agreeing)


def test_the_choice_is_of_each_image_and_not_of_the_batch() -> None:
    sure, unsure, certain = [0.9, 0.1], [0.6, 0.4], [1.0, 0.0]
    answers = torch.tensor([[sure, unsure, unsure], [unsure, sure, certain]])
    assert least_uncertain(answers).tolist() == torch.tensor([sure, sure, certain]).tolist()


class Watched(TUNA):
    """Keeps the copies at each end of a task."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**SMALL, **given})
        self.ends: list[list[dict[str, torch.Tensor]]] = []

    def on_task_end(self, learner: Learner, task: Task) -> None:
        super().on_task_end(learner, task)
        self.ends.append([copy.deepcopy(one.state_dict()) for one in self.adapters.kept])


@pytest.fixture
def learned(make_stream: Any) -> tuple[Watched, Any]:
    plugin = Watched(orthogonality=1.0)
    stream = make_stream(plugin, **TRAINING, epochs=2)
    stream.run()
    return plugin, stream


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_kept_adapters_never_change_and_the_last_is_elected_of_them(learned: tuple[Watched, Any]) -> None:
    plugin, stream = learned
    now = [one.state_dict() for one in plugin.adapters.kept]
    for number, ends in enumerate(plugin.ends):
        assert all(same(ends[place], now[place]) for place in range(number + 1))
        for name, value in ends[3].items():
            assert torch.equal(value, elected(torch.stack([one[name] for one in ends[: number + 1]])))
    assert same(plugin.ends[0][3], plugin.ends[0][0])
    assert not same(now[0], now[1])
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.75


def test_the_first_task_is_plain_adapter_tuning(make_stream: Any, scenario: Scenario) -> None:
    plugin, pet = Watched(), Pet("adaptformer", size=4)
    tuned, plain = (make_stream(one, **TRAINING, on=scenario.first(1)) for one in (plugin, pet))
    begin = plain.learner.start
    start, first = tuned.learner.begin_task, dict[str, torch.Tensor]()

    def keeps(task: Task, **more: Any) -> None:
        first.update(copy.deepcopy(plugin.adapters.current.state_dict()))
        start(task, **more)

    def begins(on: Scenario) -> None:
        begin(on)
        pet.modules[0].load_state_dict(first)
        plain.learner.head.fix_scale(20.0)

    tuned.learner.begin_task, plain.learner.start = keeps, begins
    tuned.run()
    plain.run()
    assert same(plugin.adapters.kept[0].state_dict(), pet.modules[0].state_dict())
    np.testing.assert_array_equal(tuned.matrix.class_incremental, plain.matrix.class_incremental)


def test_overlaps_with_kept_adapters_are_the_papers(learned: tuple[Watched, Any], scenario: Scenario) -> None:
    plugin, stream = learned
    step = stream.learner.step_of(next(iter(stream.learner.batches_of(scenario.tasks[2].train))))
    with torch.no_grad():
        for value in plugin.adapters.current.parameters():
            value.add_(0.1 * torch.ones_like(value))
    total = 0.0
    for kept in plugin.adapters.kept[:3]:
        sizes = []
        for block in "01":
            rows = [F.normalize(one.parts[block].up.weight, dim=1) for one in (plugin.adapters.current, kept)]
            sizes.append(float((rows[0] @ rows[1].T).detach().mean().abs()))
        total += sum(sizes) / 2
    loss = plugin.loss(stream.learner, step)
    assert float(loss.detach()) == pytest.approx(math.exp(-4) * total, rel=1e-4)
    loss.backward()
    assert all(value.grad is None for kept in plugin.adapters.kept for value in kept.parameters())
    assert any(value.grad is not None for value in plugin.adapters.current.parameters())


def test_answers_are_those_of_the_least_uncertain_and_the_universal_adapter(
    learned: tuple[Watched, Any], scenario: Scenario
) -> None:
    plugin, stream = learned
    learner, rows = stream.learner.eval(), np.concatenate([task.test for task in scenario.tasks])
    every, answers = [*plugin.adapters.kept, plugin.adapters.current], []
    for chosen in plugin.adapters.kept:
        for module in every:
            module.enabled = module is chosen
        with torch.no_grad():
            features = learner.backbone(learner.backbone.normalize(learner.images_of(rows)))
            weights = torch.cat([group.weight for group in learner.head.groups])
            cosines = F.normalize(features, dim=1) @ F.normalize(weights, dim=1).T
            answers.append((20 * cosines).softmax(dim=1))
    for module in every:
        module.enabled = module is plugin.adapters.current
    entropies = torch.stack([torch.distributions.Categorical(one).entropy() for one in answers[:3]])
    expected = torch.stack(answers)[entropies.argmin(dim=0), torch.arange(len(rows))] + answers[3]
    np.testing.assert_array_equal(stream.matrix.class_incremental[-1], expected.argmax(dim=1))
    model = TrainedModel(stream.learner, scenario.classes)
    apart = [model.predict(scenario.table.images[rows[part]]) for part in np.array_split(np.arange(len(rows)), 9)]
    np.testing.assert_array_equal(np.concatenate(apart), stream.matrix.class_incremental[-1])


def test_each_task_adds_the_papers_parameters(learned: tuple[Watched, Any]) -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224")
    built = build_pet("adaptformer", model, size=16, blocks="all", generator=torch.Generator())
    assert sum(value.numel() for value in built.parameters()) == 304_320
    plugin, stream = learned
    one = sum(value.numel() for value in plugin.adapters.current.parameters())
    assert stream.tasks[-1].trainable_parameters == one + 2 * 192
    assert plugin.stored_bytes() == {"modules": 4 * 4 * one, "statistics": 6 * 4 * (192 + 192**2)}


@pytest.mark.parametrize(
    ("means", "expected"), [("plain", None), ("nearness", [0.95, 0.95, 1.0, 1.0]), ("code", [0.95, 0.9, 0.9, 0.85])]
)
def test_which_means_are_drawn_to_zero(
    means: str, expected: list[float] | None, make_stream: Any, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor | None] = []
    monkeypatch.setattr("clsuite_plugins.tuna.align_head", lambda *_, factors: seen.append(factors))
    make_stream(TUNA(**SMALL, means=means), on=scenario.first(2), **TRAINING).run()
    (factors,) = seen
    assert (None if factors is None else factors.tolist()) == (None if expected is None else pytest.approx(expected))


def test_what_is_refused(make_stream: Any, scenario: Scenario) -> None:
    with pytest.raises(UserError, match=r"tuna: training\.head must be cosine"):
        make_stream(TUNA(), head="linear").learner.start(scenario)
    with pytest.raises(UserError, match=r"tuna: training\.head_classes must be seen"):
        make_stream(TUNA(), head="cosine", head_classes="stream").learner.start(scenario)
    with pytest.raises(UserError, match="tuna: period is 0, but must be at least 1"):
        TUNA(period=0)
    for other, reason in {"slca": "aligned already", "momentum": "other weights", "ease": "both answer"}.items():
        with pytest.raises(UserError, match=reason):
            check_method([(name, find_plugin(name)[1]) for name in ("tuna", other)], "class_incremental")
