"""HiDe-PET: the module that all tasks share, and the task that is inferred under it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.peft import only
from clsuite.plugin import Scenario, Task
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.helpers import weights_of
from clsuite_plugins.hide_pet import HiDePET

SMALL: dict[str, Any] = {
    "blocks": "all",
    "size": 2,
    "centroids": 2,
    "samples": 16,
    "epochs": 3,
    "task_samples": 16,
}
TRAINING: dict[str, Any] = {"loss": "local", "epochs": 2, "optimizer": {"lr": 5e-3, "head_lr": 3e-3}}


class Watched(HiDePET):
    """Keeps the shared module as each task leaves it, after how it began."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**SMALL, **given})
        self.left: list[dict[str, torch.Tensor]] = []

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        super().on_stream_start(learner, scenario)
        self.left.append(weights_of(self.shared))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        super().on_task_end(learner, task)
        self.left.append(weights_of(self.shared))


def moved(plugin: Watched) -> list[bool]:
    pairs = zip(plugin.left, plugin.left[1:], strict=False)
    return [any(not torch.equal(value, after[name]) for name, value in before.items()) for before, after in pairs]


@pytest.mark.slow
def test_the_task_is_that_of_the_class_under_the_shared_module(make_stream: Any, scenario: Scenario) -> None:
    plugin = Watched(slow=1.0)
    stream = make_stream(plugin, **TRAINING, on=scenario.first(2))
    stream.run()
    assert moved(plugin) == [True, True]
    learner, tests = stream.learner.eval(), [task.test for task in scenario.tasks[:2]]
    rows = np.concatenate(tests)
    images = learner.backbone.normalize(learner.images_of(rows))
    every = [plugin.shared, *plugin.modules]
    assert [module.enabled for module in every] == [False, False, True]
    with torch.no_grad():
        with only(every, 0):
            shared = learner.backbone(images)
        with only(every, None):
            plain = learner.backbone(images)
        under = [learner.head(learner.backbone(images)) for number in (1, 2) if _switch(every, number)]
    _switch(every, 2)
    torch.testing.assert_close(plugin._query.of_rows(rows), shared, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(shared, plain, atol=1e-3)
    (layer,) = plugin.identity.layers
    assert isinstance(layer, torch.nn.Linear)
    tasks = (shared @ layer.weight.T + layer.bias)[:, :4].argmax(dim=1) // 2
    expected = torch.where(tasks[:, None] == 0, *under).argmax(dim=1)
    np.testing.assert_array_equal(stream.matrix.class_incremental[-1], expected)
    truth = torch.tensor([0] * len(tests[0]) + [1] * len(tests[1]))
    assert (tasks == truth).float().mean() > 0.7
    images_of = [len(task.train) for task in scenario.tasks[:2]]
    assert [task.gradient_samples for task in stream.tasks] == [2 * 2 * number for number in images_of]


def _switch(modules: list[Any], number: int) -> bool:
    for place, module in enumerate(modules):
        module.enabled = place == number
    return True


@pytest.mark.slow
def test_after_the_first_task_the_shared_module_is_slow(make_stream: Any, scenario: Scenario) -> None:
    plugin = Watched(slow=0.0)
    make_stream(plugin, **TRAINING, on=scenario.first(2)).run()
    assert moved(plugin) == [True, False]
    assert not any(value.requires_grad for part in (plugin.shared, plugin.identity) for value in part.parameters())
    assert [HiDePET(kind).slow for kind in ("prefix", "lora", "adapter")] == [0.1, 0.1, 0.01]


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match=r"hide_pet: slow is -1\.0, but must be at least 0"):
        HiDePET(slow=-1.0)
    for kind, reason in {
        "online": "it trains the shared module",
        "domain_incremental": "only class_incremental",
    }.items():
        with pytest.raises(UserError, match=reason):
            check_method([("hide_pet", find_plugin("hide_pet")[1])], kind)
