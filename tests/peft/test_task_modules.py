"""A module that goes on from task to task, and the copies that tasks leave."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from clsuite.peft import TaskModules
from clsuite.scenarios import Scenario
from clsuite_plugins.finetune import Finetune


@pytest.fixture
def ready(make_stream: Any, scenario: Scenario) -> tuple[TaskModules, Any]:
    """Two copies, the first of which is kept, on a learner that has begun a task."""
    plugin = Finetune()
    learner = make_stream(plugin).learner
    learner.start(scenario)
    build = {"size": 4, "blocks": "all", "generator": torch.Generator().manual_seed(0)}
    modules = TaskModules(learner, plugin, 2, "adaptformer", **build)
    learner.begin_task(scenario.tasks[0])
    move(modules, 1)
    modules.keep(0)
    return modules, learner


@torch.no_grad()
def move(modules: TaskModules, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for value in modules.current.parameters():
        value.normal_(0.0, 0.3, generator=generator)


def features(learner: Any, rows: Any) -> torch.Tensor:
    images = learner.backbone.normalize(learner.images_of(rows))
    with torch.no_grad():
        return learner.backbone.eval()(images)


def test_a_copy_is_what_the_module_was(ready: tuple[TaskModules, Any], scenario: Scenario) -> None:
    modules, learner = ready
    rows = scenario.tasks[0].train
    then = features(learner, rows)
    move(modules, 2)
    modules.keep(1)
    torch.testing.assert_close(modules.of_rows(0, rows), then, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(modules.of_rows(1, rows), features(learner, rows), rtol=1e-4, atol=1e-4)
    assert [module.enabled for module in (*modules.kept, modules.current)] == [False, False, True]


def test_only_the_current_module_is_trained(ready: tuple[TaskModules, Any]) -> None:
    learner = ready[1]
    trained = {name for name, value in learner.plugin_modules.named_parameters() if value.requires_grad}
    assert trained
    assert all(name.startswith("Finetune_current.") for name in trained)
    assert len(learner.plugin_modules) == 3


def test_values_of_copies_stand_beside_one_another(ready: tuple[TaskModules, Any]) -> None:
    modules, _ = ready
    move(modules, 2)
    modules.keep(1)
    for name, values in modules.values(2).items():
        assert torch.equal(values[0], modules.kept[0].state_dict()[name])
        assert torch.equal(values[1], modules.current.state_dict()[name])
    assert all(len(values) == 1 for values in modules.values(1).values())
    assert modules.bytes == 4 * sum(value.numel() for value in modules.current.parameters())


def test_features_of_images_are_computed_once_until_something_changes(
    ready: tuple[TaskModules, Any], scenario: Scenario
) -> None:
    modules, learner = ready
    passed: list[int] = []
    learner.backbone.register_forward_hook(lambda module, given, output: passed.append(len(output)))
    batch = next(iter(learner.batches_of(scenario.tasks[0].train, augment=False)))
    first = modules.of_batch(0, batch)
    assert torch.equal(modules.of_batch(0, batch), first)
    assert sum(passed) == len(batch)
    with torch.no_grad():
        learner.backbone.model.patch_embed.proj.bias.add_(0.5)
    learner.forget_features()
    other = modules.of_batch(0, batch)
    assert not torch.allclose(other, first)
    modules.fill(0, {name: torch.zeros_like(value) for name, value in modules.kept[0].state_dict().items()})
    assert not torch.allclose(modules.of_batch(0, batch), other)


def test_images_that_are_in_no_table_pass_each_time(ready: tuple[TaskModules, Any], scenario: Scenario) -> None:
    modules, learner = ready
    batch = next(iter(learner.batches_of(scenario.tasks[0].train, augment=False)))
    unknown = dataclasses.replace(batch, indices=torch.full_like(batch.indices, -1))
    learner.backbone.eval()
    torch.testing.assert_close(modules.of_batch(0, unknown), modules.of_batch(0, batch), rtol=1e-4, atol=1e-4)
