"""ER-ACE and MIR against what Avalanche computes of the same numbers."""

from __future__ import annotations

import copy
from typing import Any

import torch
from avalanche.training.plugins.mir import update_temp
from avalanche.training.regularization import ACECriterion
from torch import Tensor
from torch.nn import functional as F

from clsuite.learner.learner import Learner
from clsuite.learner.step import Step
from clsuite.plugin import Batch
from clsuite.scenarios import Scenario
from clsuite_plugins.er_ace import ERACE
from clsuite_plugins.mir import MIR


def test_er_ace_is_twice_avalanches_criterion(make_stream: Any, scenario: Scenario) -> None:
    """Which takes the mean of both cross-entropies, where the paper has their sum."""
    plugin = ERACE()
    learner = make_stream(plugin).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[1])
    logits = 3 * torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 3, 2, 3, 5, 2, 0, 1, 2, 3, 4, 5])
    batch = Batch(None, labels, torch.arange(12), torch.arange(12) >= 6)
    measured = plugin.classification(learner, Step(batch, torch.zeros(12, 1), logits))
    torch.testing.assert_close(measured, 2 * ACECriterion()(logits[:6], labels[:6], logits[6:], labels[6:]))


def test_mir_measures_the_interference_that_avalanche_measures(make_stream: Any, scenario: Scenario) -> None:
    lr = 0.05
    plugin = MIR(capacity=20, batch_size=3, candidates=9, lr=lr)
    measure, checked = plugin.interference, list[int]()

    def spy(learner: Learner, batch: Batch, drawn: Tensor) -> Tensor:
        rises = measure(learner, batch, drawn)
        model = torch.nn.Sequential(copy.deepcopy(learner.backbone), copy.deepcopy(learner.head)).eval()
        images = learner.backbone.normalize(batch.images)
        with torch.enable_grad():
            loss = F.cross_entropy(model(images), batch.labels)
            moved = update_temp(model, torch.autograd.grad(loss, list(model.parameters())), lr)
        stored, labels = learner.backbone.normalize(plugin.buffer.images[drawn]), plugin.buffer.labels[drawn]
        with torch.no_grad():
            after, before = (F.cross_entropy(one(stored), labels, reduction="none") for one in (moved, model))
        torch.testing.assert_close(rises, after - before, rtol=1e-3, atol=1e-5)
        checked.append(len(drawn))
        return rises

    plugin.interference = spy  # type: ignore[method-assign]
    make_stream(plugin, on=scenario.first(2)).run()
    assert checked == [9] * 4
