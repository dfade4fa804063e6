"""DUCT: task vectors on top of the pre-trained weights, rows of each task, and their transport."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.helpers import weights_of
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.duct import DUCT, rows_of

Weights = dict[str, torch.Tensor]
SGD = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}


def domains(scenario: Scenario, order: tuple[int, ...] = (0, 1, 2)) -> Scenario:
    """Three tasks of the same two classes, which are other digits in each."""
    labels = scenario.labels % 2
    tasks = [dataclasses.replace(scenario.tasks[one], classes=(0, 1), index=n) for n, one in enumerate(order)]
    return Scenario("domain_incremental", scenario.table, labels, scenario.classes[:2], tuple(tasks))


def start(make_stream: Any, plugin: Any, *others: Plugin, **given: Any) -> Any:
    return make_stream(
        *others, plugin, **{"loss": "local", "head": "cosine", "head_init": 0.02, "optimizer": SGD, **given}
    )


class Watched(DUCT):
    """Keeps the backbone as each task begins with it, as it was trained, and as it answers; and the rows."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.begun: list[Weights] = []
        self.trained: list[Weights] = []
        self.merged: list[Weights] = []
        self.alike: list[float] = []
        self.first: list[torch.Tensor] = []
        self.kept: list[torch.Tensor] = []

    def on_task_start(self, learner: Learner, task: Task) -> None:
        super().on_task_start(learner, task)
        self.begun.append(weights_of(learner.backbone))
        self.first.append(rows_of(learner))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        self.trained.append(weights_of(learner.backbone))
        after = self._class_means(learner, task)
        self.alike.append(F.cosine_similarity(self._new_means, after).mean().item())
        super().on_task_end(learner, task)
        self.merged.append(weights_of(learner.backbone))
        self.kept.append(self._rows.clone())


def test_the_backbone_is_the_pretrained_one_and_the_sum_of_what_tasks_added(make_stream: Any) -> None:
    plugin = Watched(lr=0.01, scale=0.5)
    stream = start(make_stream, plugin)
    pretrained = weights_of(stream.learner.backbone)
    stream.run()
    assert all(torch.equal(begun[name], pretrained[name]) for begun in plugin.begun for name in pretrained)
    assert all(0 < alike < 1 for alike in plugin.alike)
    for name, before in pretrained.items():
        added = sum(0.5 * a * (t[name] - before) for a, t in zip(plugin.alike, plugin.trained, strict=True))
        torch.testing.assert_close(plugin.merged[-1][name], before + added, atol=1e-6, rtol=1e-5)
    assert any((plugin.merged[-1][name] != value).any() for name, value in pretrained.items())


def test_one_task_with_the_whole_vector_is_what_was_trained(
    make_stream: Any, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = Watched(lr=0.01, scale=1.0)
    monkeypatch.setattr(plugin, "_class_means", lambda learner, task: torch.ones(2, learner.backbone.width))
    start(make_stream, plugin, on=scenario.first(1)).run()
    for name, value in plugin.trained[0].items():
        torch.testing.assert_close(plugin.merged[0][name], value, atol=1e-6, rtol=0)


class Moves(Plugin):
    """Moves the backbone by what follows from a task's images alone, as if it had been trained."""

    def on_task_end(self, learner: Learner, task: Task) -> None:
        generator = torch.Generator().manual_seed(int(task.train[0]))
        with torch.no_grad():
            for value in learner.backbone.parameters():
                value.add_(0.01 * torch.randn(value.shape, generator=generator))


@pytest.mark.slow
def test_the_order_of_the_tasks_does_not_change_the_backbone(make_stream: Any, scenario: Scenario) -> None:
    ends = []
    for order in ((0, 1, 2), (2, 0, 1)):
        plugin = Watched(lr=1e-30, weight_decay=0.0)
        sgd = {"name": "sgd", "weight_decay": 0.0}
        start(make_stream, plugin, Moves(), on=domains(scenario, order), optimizer=sgd).run()
        ends.append(plugin.merged[-1])
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-6, rtol=0)


def test_rows_start_small_and_new_in_each_task(make_stream: Any, scenario: Scenario) -> None:
    plugin = Watched()
    start(make_stream, plugin, on=domains(scenario)).run()
    assert all(0.015 < first.std().item() < 0.025 for first in plugin.first)
    assert not torch.equal(plugin.first[0], plugin.first[1])
    assert plugin.state_dict()["_classes"] == [[0, 1]] * 3
    assert plugin.kept[-1].shape == (6, 192)


def test_old_rows_are_pulled_to_their_own_twins_where_means_are_the_same() -> None:
    plugin = DUCT(share=0.25)
    plugin._new_means = means = 10 * torch.eye(3)
    rows, new = torch.randn(3, 3), torch.randn(3, 3)
    torch.testing.assert_close(plugin._follow(rows, means, new), 0.75 * rows + 0.25 * new, atol=1e-4, rtol=0)
    turned = [2, 0, 1]
    torch.testing.assert_close(
        plugin._follow(rows, means[turned], new), 0.75 * rows + 0.25 * new[turned], atol=1e-4, rtol=0
    )


def test_transported_rows_are_means_of_new_ones_and_a_share_of_nothing_leaves_old_ones() -> None:
    plugin = DUCT(share=1.0, regularization=1e6)
    plugin._new_means = torch.randn(4, 3)
    rows, new = torch.randn(2, 3), torch.randn(4, 3)
    moved = plugin._follow(rows, torch.randn(2, 3), new)
    torch.testing.assert_close(moved, new.mean(dim=0).expand(2, -1), atol=1e-4, rtol=0)
    plugin.share = 0.0
    assert torch.equal(plugin._follow(rows, torch.randn(2, 3), new), rows)


def test_relative_costs_do_not_depend_on_the_length_of_features() -> None:
    plugin = DUCT(cost="relative", regularization=0.5)
    old, means, rows, new = (torch.randn(3, 4) for _ in range(4))
    answers = []
    for factor in (1.0, 50.0):
        plugin._new_means = factor * means
        answers.append(plugin._follow(rows, factor * old, new))
    torch.testing.assert_close(*answers, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_class_scores_as_its_best_row_does(make_stream: Any, scenario: Scenario) -> None:
    stream = start(make_stream, plugin := DUCT(lr=0.01), on=domains(scenario), epochs=3)
    stream.run()
    learner, rows = stream.learner, scenario.tasks[0].test
    cosines = F.normalize(learner.features_of(rows), dim=1) @ F.normalize(plugin._rows, dim=1).T
    expected = cosines.view(len(rows), 3, 2).amax(dim=1).argmax(dim=1)
    given = stream.matrix.class_incremental[-1][stream.matrix.task == 0]
    assert (expected.numpy() == given).mean() > 0.98
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.7


def test_it_brings_its_training_and_refuses_what_it_cannot_be_beside(make_stream: Any) -> None:
    assert find_plugin("duct")[1].traits.training["head"] == "cosine"
    with pytest.raises(UserError, match=r"duct: training\.head is linear, but must be cosine"):
        make_stream(DUCT()).run()
    for other in ("replay", "wise_ft", "ewc", "pet", "slca"):
        with pytest.raises(UserError, match=r"'duct'.* cannot be combined"):
            check_method([(name, find_plugin(name)[1]) for name in ("duct", other)], "class_incremental")
    with pytest.raises(UserError, match="a task's images through the network again"):
        check_method([("duct", find_plugin("duct")[1])], "online")


@pytest.mark.slow
def test_the_second_training_is_counted(make_stream: Any, scenario: Scenario) -> None:
    stream = start(make_stream, DUCT(epochs=3), epochs=2)
    stream.run()
    assert [one.gradient_samples for one in stream.tasks] == [5 * len(task.train) for task in scenario.tasks]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0.0}, r"lr is 0\.0, but must be above 0"),
        ({"share": 1.5}, r"share is 1\.5, but must be"),
        ({"regularization": 0.0}, r"regularization is 0\.0, but must be at least 0\.0001"),
        ({"epochs": -1}, r"epochs is -1, but must be at least 0"),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DUCT(**given)


@pytest.mark.slow
def test_one_class_at_a_time_is_learned_by_the_global_loss(make_stream: Any, scenario: Scenario) -> None:
    numbers = [(task.index * 2 + one, task, label) for task in scenario.tasks for one, label in enumerate(task.classes)]
    tasks = [
        dataclasses.replace(
            task, index=number, classes=(label,), train=task.train[scenario.labels[task.train] == label],
            test=task.test[scenario.labels[task.test] == label],
        )
        for number, task, label in numbers
    ]  # fmt: skip
    single = dataclasses.replace(scenario, tasks=tuple(tasks))
    plugin = Watched(epochs=1, lr=0.01)
    start(make_stream, plugin, on=single, loss="global").run()
    moved = [(kept[-1] - first[-1]).abs().max() for first, kept in zip(plugin.first[1:], plugin.kept[1:], strict=True)]
    assert min(moved) > 0.01
