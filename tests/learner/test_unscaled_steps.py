"""In precision 16 no scaler helps gradients outside of the training's own steps: these are computed in 32 bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clsuite.learner.learner import Learner
from clsuite.plugin import select_parameters, tune_on_exemplars
from clsuite.scenarios import Scenario
from clsuite_plugins.replay import Replay
from clsuite_plugins.saft import SAFT

RESOLVE = "clsuite.learner.precision.resolve_precision"


def in_half_precision(make_stream: Any, scenario: Scenario, plugin: Any, scaled: float) -> Learner:
    """A learner at the end of a task whose options say 16, with gradients far smaller than half precision can hold."""
    learner: Learner = make_stream(plugin).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    learner.end_task(scenario.tasks[0])
    learner.options = learner.options.model_copy(update={"precision": "16"})
    with torch.no_grad():
        for value in learner.head.parameters():
            value.mul_(scaled)
    return learner


def scores(learner: Learner) -> dict[str, Tensor]:
    """What SAFT scores the weights with."""
    (plugin,) = learner.plugins
    assert isinstance(plugin, SAFT)
    return plugin._scores(learner, learner.scenario.tasks[0])


def tuned(learner: Learner) -> dict[str, Tensor]:
    """The weights after a step on exemplars."""
    (plugin,) = learner.plugins
    assert isinstance(plugin, Replay)
    chosen, draws = select_parameters(learner, "norm"), torch.Generator().manual_seed(0)
    tune_on_exemplars(learner, chosen, plugin.buffer, steps=1, batch_size=8, lr=1e6, momentum=0.0, generator=draws)
    return {name: value.detach().clone() for name, value in chosen.items()}


@pytest.mark.parametrize(("measure", "plugin"), [(scores, SAFT), (tuned, Replay)])
def test_what_half_precision_cannot_hold_is_as_in_full_precision(
    measure: Any, plugin: Any, make_stream: Any, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for precision in ("32-true", "16-mixed"):
        monkeypatch.setattr(RESOLVE, lambda asked, device: "32-true")
        learner = in_half_precision(make_stream, scenario, plugin(), 1e-6)
        monkeypatch.setattr(RESOLVE, lambda asked, device, kind=precision: kind)
        found.append(measure(learner))
    full, half = found
    for name, value in full.items():
        assert torch.equal(half[name], value), name
