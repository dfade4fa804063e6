"""HiDe: a module of each task, the task inferred from plain features, and the head aligned on drawn ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.peft import build_pet, only
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.helpers import weights_of
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.hide import HiDe

SMALL: dict[str, Any] = {
    "blocks": "all",
    "centroids": 2,
    "samples": 16,
    "epochs": 6,
    "task_samples": 16,
    "task_epochs": 8,
}
Weights = dict[str, torch.Tensor]


class Watched(HiDe):
    """Keeps the modules as each task leaves them, and the newest as training left it and as it began."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**SMALL, **given})
        self.begun: list[Weights] = []
        self.trained: list[Weights] = []
        self.kept: list[list[Weights]] = []

    def on_task_start(self, learner: Learner, task: Task) -> None:
        super().on_task_start(learner, task)
        self.begun.append(weights_of(self.modules[-1]))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        self.trained.append(weights_of(self.modules[-1]))
        super().on_task_end(learner, task)
        self.kept.append([weights_of(module) for module in self.modules])


def same(one: Weights, other: Weights) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def run(make_stream: Any, **given: Any) -> tuple[Watched, Any]:
    stream = make_stream(plugin := Watched(**given), loss="local", epochs=3, optimizer={"lr": 5e-3, "head_lr": 3e-3})
    stream.run()
    return plugin, stream


@pytest.mark.slow
@pytest.mark.parametrize("pet", ["prefix", "lora", "adapter"])
def test_a_module_starts_from_the_last_one_and_older_ones_keep_their_bits(pet: Any, make_stream: Any) -> None:
    plugin, stream = run(make_stream, pet=pet, momentum=0.25)
    for task in (1, 2):
        assert same(plugin.begun[task], plugin.kept[task - 1][-1])
        assert all(same(one, other) for one, other in zip(plugin.kept[task - 1], plugin.kept[task], strict=False))
        for name, value in plugin.kept[task][-1].items():
            mean = torch.stack([earlier[name] for earlier in plugin.kept[task - 1]]).mean(dim=0)
            torch.testing.assert_close(value, 0.75 * plugin.trained[task][name] + 0.25 * mean)
        assert not same(plugin.trained[task], plugin.begun[task])
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.8


@pytest.mark.slow
def test_without_momentum_a_module_stays_as_it_was_trained(make_stream: Any) -> None:
    plugin, _ = run(make_stream, momentum=0.0)
    assert all(same(trained, kept[-1]) for trained, kept in zip(plugin.trained, plugin.kept, strict=True))


def test_moving_towards_the_mean_of_two_by_hand() -> None:
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=1)
    modules = [build_pet("ia3", model, size=1, blocks="all", generator=torch.Generator()) for _ in range(3)]
    with torch.no_grad():
        for module, value in zip(modules, (1.0, 3.0, 10.0), strict=True):
            for values in module.parameters():
                values.fill_(value)
    modules[2].move_towards(modules[:2], 0.1)
    for values in modules[2].parameters():
        torch.testing.assert_close(values, torch.full_like(values, 0.9 * 10 + 0.1 * 2))


@pytest.mark.slow
def test_each_image_is_answered_with_the_module_of_the_task_that_is_inferred(
    make_stream: Any, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the true task instead, it is the head on features of each session's own module, as S-Prompts have it."""
    plugin, stream = run(make_stream)
    learner = stream.learner
    plain = torch.cat([plugin._query.of_rows(task.test) for task in scenario.tasks])
    assert torch.equal(plugin.identity.tasks_of(plain), plugin.identity.owners[plugin.identity(plain).argmax(dim=1)])
    assert plugin.identity.owners.tolist()[:6] == [0, 0, 1, 1, 2, 2]
    rows = np.concatenate([task.train[:2] for task in scenario.tasks])
    batch = next(iter(learner.batches_of(rows, augment=False)))
    monkeypatch.setattr(plugin.identity, "tasks_of", lambda features: batch.labels // 2)
    answers = plugin.predict(learner, batch)
    for place, label in enumerate(batch.labels.tolist()):
        with torch.no_grad(), only(plugin.modules, label // 2):
            expected = learner.head(learner.backbone(batch.images[place : place + 1]))
        torch.testing.assert_close(answers[place], expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_contrast_is_that_of_features_and_centroids_of_older_classes(make_stream: Any, scenario: Scenario) -> None:
    plugin, stream = run(make_stream, contrast=0.5, temperature=2.0)
    learner = stream.learner
    step = learner.step_of(next(iter(learner.batches_of(scenario.tasks[2].train))))
    rows = torch.cat([plugin._prompted.means[:8], step.features])
    assert len(plugin._prompted.means) == 12  # two centroids of each class; the last task has none of its own yet
    terms = [-(row @ rows.T / 2.0).log_softmax(dim=0)[place] for place, row in enumerate(rows)]
    loss = plugin.loss(learner, step)
    assert loss is not None
    torch.testing.assert_close(loss, 0.5 * torch.stack(terms).mean(), rtol=1e-4, atol=1e-5)
    plugin.contrast = 0.0
    assert plugin.loss(learner, step) is None


def test_orthogonal_large_features_have_no_contrast(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(plugin := HiDe(**SMALL))
    stream.learner.start(scenario)
    stream.learner.begin_task(scenario.tasks[0])
    step = stream.learner.step_of(next(iter(stream.learner.batches_of(scenario.tasks[0].train))))
    step = type(step)(step.batch, 50 * torch.eye(192)[: len(step.batch)], step.logits)
    loss = plugin.loss(stream.learner, step)
    assert loss is not None
    assert loss.item() == 0.0


def test_the_head_goes_on_aligned_over_all_seen_classes(make_stream: Any, scenario: Scenario) -> None:
    """Under the local loss old rows are at rest: what moves them is the alignment alone, from the second task on."""
    heads: list[list[torch.Tensor]] = []

    class Looks(Watched):
        def on_task_start(self, learner: Learner, task: Task) -> None:
            super().on_task_start(learner, task)
            heads.append([value.detach().clone() for value in learner.head.parameters()])

        def on_task_end(self, learner: Learner, task: Task) -> None:
            heads.append([value.detach().clone() for value in learner.head.parameters()])
            super().on_task_end(learner, task)
            heads.append([value.detach().clone() for value in learner.head.parameters()])

    make_stream(Looks(), loss="local", on=scenario.first(2), optimizer={"weight_decay": 0.0}).run()
    _, first_trained, first_ended, begun, trained, ended = heads
    assert all(torch.equal(one, other) for one, other in zip(first_trained, first_ended, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(first_ended, begun, strict=False))
    assert all(torch.equal(one, other) for one, other in zip(begun[:2], trained[:2], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(trained, ended, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("batches", "expected"), [("old", [2, 4]), ("all", [8, 12])])
def test_the_code_aligns_on_as_many_batches_as_there_were_classes(
    batches: Any, expected: list[int], make_stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    optimizer = torch.optim.SGD.step

    def step(self: Any, *of: Any) -> Any:
        taken.append(1)
        return optimizer(self, *of)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    run(make_stream, batches=batches, epochs=1, task_epochs=1)
    assert len(taken) == 2 * sum(expected)  # of the layers that tell the task, and of the head


@pytest.mark.parametrize(("size", "number"), [(5, 38_400), (20, 153_600)])
def test_a_prefix_has_as_many_parameters_as_the_authors_say(size: int, number: int) -> None:
    plugin = HiDe(size=size)
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=0)
    build: Any = {**plugin._build, "generator": torch.Generator()}
    assert build_pet(model=model, **build).numel == number


@pytest.mark.slow
def test_what_is_kept_is_counted(make_stream: Any) -> None:
    plugin, _ = run(make_stream)
    modules = 3 * 2 * 2 * 5 * 192 * 4
    identity = 4 * (192 * 384 + 384 + 384 * 192 + 192 + 192 * 10 + 10) + 8 * 10
    gaussians = 2 * 6 * 2 * 2 * 192 * 4
    assert plugin.stored_bytes() == {"modules": modules + identity, "statistics": gaussians}


@pytest.mark.slow
def test_what_tells_the_task_counts_the_images_that_it_is_trained_on(make_stream: Any, scenario: Scenario) -> None:
    plugin = HiDe(**SMALL)
    stream = make_stream(plugin, epochs=2)
    stream.run()
    images = [len(task.train) for task in scenario.tasks]
    assert [one.gradient_samples for one in stream.tasks] == [(2 + plugin.task_epochs) * one for one in images]


def test_it_refuses_what_it_cannot_be_beside() -> None:
    for other in ("replay", "pet", "momentum", "joint", "slca", "ewc"):
        with pytest.raises(UserError, match="cannot be combined"):
            check_method([(name, find_plugin(name)[1]) for name in ("hide", other)], "class_incremental")
    with pytest.raises(UserError, match="'hide' cannot learn domain_incremental streams"):
        check_method([("hide", find_plugin("hide")[1])], "domain_incremental")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"momentum": 1.5}, r"hide: momentum is 1\.5, but must be"),
        ({"temperature": 0.0}, r"hide: temperature is 0\.0, but must be above 0"),
        ({"task_epochs": 0}, "hide: task_epochs is 0, but must be at least 1"),
        ({"pet": "ssf"}, "ssf"),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        HiDe(**given)


def test_a_head_without_weights_is_refused(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"hide: training\.head_classes must be seen"):
        make_stream(HiDe(**SMALL), head_classes="stream").run()
