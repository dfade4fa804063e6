"""Logit adjustment: the loss by hand, with exemplars and without, and the plain loss where it adjusts nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.plugin.helpers import weights_of
from clsuite.scenarios import Scenario
from clsuite_plugins.gem import GEM
from clsuite_plugins.logit_adjustment import LogitAdjustment
from clsuite_plugins.mix_cd import MixCD
from clsuite_plugins.replay import Replay


def begun(make_stream: Any, scenario: Scenario, *plugins: Any, **training: Any) -> Learner:
    """A learner in its second task, after whose first one exemplars were kept."""
    learner: Learner = make_stream(*plugins, **training).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    learner.end_task(scenario.tasks[0])
    learner.begin_task(scenario.tasks[1])
    return learner


def step_with(labels: list[int], exemplars: int, classes: int = 4) -> Step:
    """A step of random logits, whose last samples are exemplars."""
    logits = torch.randn(len(labels), classes, generator=torch.Generator().manual_seed(0), requires_grad=True)
    replayed = torch.arange(len(labels)) >= len(labels) - exemplars
    batch = Batch(None, torch.tensor(labels), torch.arange(len(labels)), replayed)
    return Step(batch, torch.zeros(len(labels), 1), logits)


def test_the_loss_by_hand(make_stream: Any, scenario: Scenario) -> None:
    plugin = LogitAdjustment(tau=1.5, floor=1e-9)
    learner = begun(make_stream, scenario, plugin)
    of_two, of_three = (scenario.tasks[1].train[scenario.labels[scenario.tasks[1].train] == label] for label in (2, 3))
    plugin.select_indices(learner, scenario.tasks[1], np.concatenate([of_two[:9], of_three[:3]]))
    step = step_with([2, 3, 2, 2], exemplars=0)
    prior = torch.tensor([1e-9, 1e-9, 0.75, 0.25])
    expected = F.cross_entropy(step.logits + 1.5 * prior.log(), step.batch.labels)
    ours = plugin.classification(learner, step)
    assert ours is not None
    torch.testing.assert_close(ours, expected)
    gradient = torch.autograd.grad(ours, step.logits)[0]
    assert gradient[:, :2].abs().max() < 1e-6  # older classes almost do not compete


def test_beside_exemplars_the_frequencies_are_those_of_the_batch(make_stream: Any, scenario: Scenario) -> None:
    plugin, replay = LogitAdjustment(), Replay(capacity=4)
    learner = begun(make_stream, scenario, replay, plugin)
    plugin.select_indices(learner, scenario.tasks[1], scenario.tasks[1].train)  # as many of either class
    replay.buffer._columns["labels"][:4] = torch.tensor([0, 0, 0, 1])
    step = step_with([2, 3, 2, 0, 1], exemplars=2)
    prior = torch.tensor([0.4 * 0.75, 0.4 * 0.25, 0.3, 0.3])
    expected = F.cross_entropy(step.logits + prior.log(), step.batch.labels)
    torch.testing.assert_close(plugin.classification(learner, step), expected)


def test_where_classes_are_alike_the_gradient_is_that_of_the_cross_entropy(
    make_stream: Any, scenario: Scenario
) -> None:
    plugin = LogitAdjustment()
    learner = begun(make_stream, scenario, plugin, loss="local")
    plugin.select_indices(learner, scenario.tasks[1], scenario.tasks[1].train)
    step = step_with([2, 3, 2], exemplars=0)
    ours = plugin.classification(learner, step)
    plain = F.cross_entropy(step.logits[:, 2:], step.batch.labels - 2)
    assert ours is not None
    torch.testing.assert_close(*(torch.autograd.grad(loss, step.logits)[0] for loss in (ours, plain)))


def test_without_a_factor_it_is_fine_tuning_to_the_bit(make_stream: Any, scenario: Scenario) -> None:
    streams = [make_stream(*plugins, on=scenario.first(2)) for plugins in ((LogitAdjustment(tau=0.0),), ())]
    for stream in streams:
        stream.run()
    ours, plain = (weights_of(stream.learner) for stream in streams)
    assert all(torch.equal(value, ours[name]) for name, value in plain.items())


@pytest.mark.parametrize("given", [{"tau": -1.0}, {"floor": 0.0}])
def test_bad_arguments(given: dict[str, float]) -> None:
    with pytest.raises(Exception, match=r"logit_adjustment: (tau|floor) is"):
        LogitAdjustment(**given)


def test_one_class_is_learned_beside_exemplars_alone(make_stream: Any, scenario: Scenario) -> None:
    alone = dataclasses.replace(scenario.tasks[1], classes=scenario.tasks[1].classes[1:])
    stream = dataclasses.replace(scenario, tasks=(scenario.tasks[0], alone))
    with pytest.raises(UserError, match=r"^logit_adjustment: task 1 \(.*\) has one class, .* nothing is learned"):
        make_stream(LogitAdjustment()).learner.start(stream)
    with pytest.raises(UserError, match="nothing is learned"):  # GEM's exemplars are in no batch
        make_stream(GEM(capacity=4), LogitAdjustment()).learner.start(stream)
    for plugins in ((LogitAdjustment(tau=0.0),), (Replay(capacity=4), LogitAdjustment())):
        make_stream(*plugins).learner.start(stream)


def test_samples_that_are_in_no_buffer_are_refused(make_stream: Any, scenario: Scenario) -> None:
    with pytest.raises(UserError, match=r"^logit_adjustment: MixCD rehearses samples that are in no buffer"):
        make_stream(MixCD(), LogitAdjustment()).learner.start(scenario)
