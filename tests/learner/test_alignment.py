"""Training a head on drawn features: logits, groups, batches and schedule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clsuite.learner.alignment import (
    AlignmentSettings,
    align_head,
    head_values,
    nearness,
    normalized,
    reversed_nearness,
    scaled_cosine,
    task_normalized,
)
from clsuite.learner.class_gaussians import ClassGaussians
from clsuite.learner.head import GrowingHead
from clsuite.learner.learner import Learner
from clsuite.scenarios import Scenario


def learner_of(make_stream: Any, scenario: Scenario, **training: Any) -> Learner:
    """Two tasks have begun."""
    learner: Learner = make_stream(**training).learner
    learner.start(scenario)
    for task in scenario.tasks[:2]:
        learner.begin_task(task)
    return learner


def gaussians_of(learner: Learner, scenario: Scenario) -> ClassGaussians:
    known = ClassGaussians(learner.backbone.width)
    for task in scenario.tasks[:2]:
        known.add(learner.features_of(task.train), learner.labels_of(task.train))
    return known


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def test_older_means_are_drawn_nearer_to_zero() -> None:
    torch.testing.assert_close(nearness([2, 1], 0.9), torch.tensor([0.95, 0.95, 1.0]))
    torch.testing.assert_close(nearness([3], 0.9), torch.ones(3))


def test_by_the_slip_of_tunas_code_newer_means_are_drawn_nearer() -> None:
    """Class 0 alone is over 0.9: 3 // -2 is -2, so that the factor of class 3 is 0.9 + 0.1 * (-2 + 1) / 3."""
    expected = torch.tensor([0.9 + 0.1 / 3, 0.9, 0.9, 0.9 - 0.1 / 3, 0.9 - 0.1 / 3, 0.9 - 0.2 / 3])
    torch.testing.assert_close(reversed_nearness([2, 2, 2], 0.9), expected)


def test_logits_are_divided_by_the_mean_norm_of_the_tasks() -> None:
    logits = torch.tensor([[3.0, 4.0, 1.0], [0.0, 2.0, 4.0]])  # norms of tasks: 5 and 1, 2 and 4
    torch.testing.assert_close(normalized(logits, [2, 1]), logits / 3, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cosine", [False, True])
def test_scaled_cosines_do_not_know_the_scale_of_the_head(cosine: bool) -> None:
    head = GrowingHead(4, cosine)
    head.grow(3, generator())
    rows = torch.randn(5, 4, generator=generator())
    expected = 20 * F.cosine_similarity(rows[:, None], head.group_parameters(0)[0][None], dim=2)
    torch.testing.assert_close(scaled_cosine(20.0)(head, rows), expected)


def test_the_head_is_trained_as_a_plain_loop_does(make_stream: Any, scenario: Scenario) -> None:
    learner = learner_of(make_stream, scenario)
    known, head = gaussians_of(learner, scenario), learner.head
    plain = [(group.weight.detach().clone(), group.bias.detach().clone()) for group in head.groups]
    settings = AlignmentSettings(0.02, epochs=3, samples=8, batch_size=5, batches=4, weight_decay=0.01, period=2)
    align_head(learner, known, settings, generator(), logits=task_normalized(0.5), factors=nearness(head.sizes, 0.9))

    values = [value.requires_grad_() for pair in plain for value in pair]
    optimizer = torch.optim.SGD(values, lr=0.02, momentum=0.9, weight_decay=0.01)
    source, draw = generator(), known.sampler(torch.tensor([0.95, 0.95, 1.0, 1.0]))
    for lr in (0.02, 0.01, 0.0):  # half a cosine of two epochs
        optimizer.param_groups[0]["lr"] = lr
        rows, labels = draw(8, source)
        for chosen in torch.randperm(32, generator=source).split(5)[:4]:
            parts = [F.linear(rows[chosen], weight, bias) for weight, bias in plain]
            norm = (parts[0].norm(dim=1) + parts[1].norm(dim=1)) / 2
            loss = F.cross_entropy(torch.cat(parts, dim=1) / (norm[:, None] + 1e-7) / 0.5, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for group, (weight, bias) in zip(head.groups, plain, strict=True):
        torch.testing.assert_close(group.weight, weight)
        torch.testing.assert_close(group.bias, bias)


def test_only_the_chosen_groups_move_and_what_was_frozen_stays_so(make_stream: Any, scenario: Scenario) -> None:
    learner = learner_of(make_stream, scenario, head="cosine")
    known, head = gaussians_of(learner, scenario), learner.head
    head.fix_scale(20.0)
    head.freeze([0])
    before, body = head_values(learner), [value.detach().clone() for value in learner.backbone.parameters()]
    align_head(learner, known, AlignmentSettings(samples=8), generator(), groups=[1])
    after = head_values(learner)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.groups.1.weight"}
    align_head(learner, known, AlignmentSettings(samples=8), generator())
    moved = {name for name, value in head_values(learner).items() if not torch.equal(after[name], value)}
    assert moved == {"head.groups.0.weight", "head.groups.1.weight"}
    assert {name: value.requires_grad for name, value in head.named_parameters()} == {
        "scale": False, "groups.0.weight": False, "groups.1.weight": True
    }  # fmt: skip
    assert all(value.grad is None for value in learner.parameters())
    assert all(torch.equal(one, other) for one, other in zip(body, learner.backbone.parameters(), strict=True))


def test_means_are_drawn_from_the_given_factor_on() -> None:
    torch.testing.assert_close(nearness([1, 1], 0.5), torch.tensor([0.75, 1.0]))
    torch.testing.assert_close(nearness([2, 1, 1], 1.0), torch.ones(4))
