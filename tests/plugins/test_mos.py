"""MOS: merged adapters, the contrast, the refined choice and the vote of two heads."""

from __future__ import annotations

import copy
from pathlib import Path
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
from clsuite.plugin.helpers import self_contrast
from clsuite.runner.model_file import TrainedModel
from clsuite_plugins.acl import ACL
from clsuite_plugins.mos import MOS, refined
from clsuite_plugins.pet import Pet

TRAINING = {"loss": "local", "optimizer": OptimizerSpec(name="sgd", lr=0.3, head_lr=0.03)}
SMALL = {"size": 4, "samples": 16, "align_epochs": 3}


class Watched(MOS):
    """Keeps the current adapter before each step's merging and after it, and the copies at each end of a task."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**SMALL, **given})
        self.steps: list[tuple[int, dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []
        self.ends: list[list[dict[str, torch.Tensor]]] = []

    def on_train_batch_end(self, *given: Any) -> None:
        before = copy.deepcopy(self.adapters.current.state_dict())
        super().on_train_batch_end(*given)
        self.steps.append((self._ended, before, copy.deepcopy(self.adapters.current.state_dict())))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        super().on_task_end(learner, task)
        self.ends.append([copy.deepcopy(one.state_dict()) for one in self.adapters.kept[: self._ended]])


@pytest.fixture
def learned(make_stream: Any) -> tuple[Watched, Any]:
    plugin = Watched()
    stream = make_stream(plugin, **TRAINING, epochs=2)
    stream.run()
    return plugin, stream


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_step_moves_the_adapter_towards_the_mean_of_the_kept_ones(learned: tuple[Watched, Any]) -> None:
    plugin, _ = learned
    for ended, before, after in plugin.steps:
        if not ended:
            assert same(before, after)
            continue
        kept = plugin.ends[ended - 1]
        for name, value in before.items():
            mean = sum(one[name] for one in kept) / ended
            torch.testing.assert_close(after[name], 0.9 * value + 0.1 * mean, rtol=1e-5, atol=1e-7)
    assert {ended for ended, *_ in plugin.steps} == {0, 1, 2}


def test_kept_adapters_are_the_same_bits_after_evaluation_and_later_tasks(learned: tuple[Watched, Any]) -> None:
    plugin, stream = learned
    now = [one.state_dict() for one in plugin.adapters.kept]
    for number, ends in enumerate(plugin.ends):
        assert len(ends) == number + 1
        assert all(same(one, other) for one, other in zip(ends, now, strict=False))
    assert not same(now[0], now[1])
    assert not any(value.requires_grad for one in plugin.adapters.kept for value in one.parameters())
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.75


@pytest.mark.slow
def test_the_codes_passes_end_in_the_mean_of_the_earlier_adapters(make_stream: Any) -> None:
    """Two blocks: a step merges three times; the copies that answer are means of what the tasks before had trained."""
    plugin = Watched(merge="code")
    make_stream(plugin, **TRAINING, epochs=2).run()
    trained = {ended: after for ended, _, after in plugin.steps}
    kept = [one.state_dict() for one in plugin.adapters.kept]
    assert same(kept[0], trained[0])
    for name, value in trained[0].items():
        torch.testing.assert_close(kept[1][name], value)
        torch.testing.assert_close(kept[2][name], (value + trained[1][name]) / 2)
    assert not same(kept[2], trained[2])
    assert same(kept[2], plugin.adapters.current.state_dict())
    for ended, before, after in plugin.steps:
        for name, value in before.items():
            mean = value if not ended else kept[ended][name]
            torch.testing.assert_close(after[name], 0.9**3 * value + (1 - 0.9**3) * mean, rtol=1e-5, atol=1e-7)
    assert plugin.stored_bytes()["modules"] == (3 + 1) * plugin.adapters.bytes


@pytest.mark.slow
def test_the_codes_mean_survives_an_interruption(make_stream: Any, tmp_path: Path) -> None:
    whole = make_stream(MOS(**SMALL, merge="code"), **TRAINING)
    whole.run()
    cut = make_stream(MOS(**SMALL, merge="code"), **TRAINING, checkpoint=tmp_path / "c.ckpt")
    end = cut.learner.end_task

    def stop(task: Task) -> None:
        if task.index == 2:
            raise KeyboardInterrupt
        end(task)

    cut.learner.end_task = stop
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = make_stream(MOS(**SMALL, merge="code"), **TRAINING, checkpoint=tmp_path / "c.ckpt")
    again.run()
    theirs = whole.learner.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in again.learner.state_dict().items())


@pytest.mark.slow
def test_without_merging_and_contrast_it_trains_one_adapter_through_all_tasks(make_stream: Any) -> None:
    plugin, pet = Watched(alpha=0.0, contrast=0.0), Pet("adaptformer", size=4)
    merged, plain = make_stream(plugin, **TRAINING), make_stream(pet, **TRAINING)
    begin = plain.learner.start

    def start(scenario: Scenario) -> None:
        begin(scenario)
        pet.modules[0].load_state_dict(first)

    kept = merged.learner.begin_task
    first: dict[str, torch.Tensor] = {}

    def begin_task(task: Task, **more: Any) -> None:
        if not task.index:
            first.update(copy.deepcopy(plugin.adapters.current.state_dict()))
        kept(task, **more)

    merged.learner.begin_task, plain.learner.start = begin_task, start
    merged.run()
    plain.run()
    assert same(plugin.adapters.kept[2].state_dict(), pet.modules[0].state_dict())


def test_a_features_contrast_is_the_cross_entropy_of_its_similarities() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    similar = torch.tensor([[1.0, 1.0], [1.0, 2.0]]) / 0.8
    expected = -(similar.diagonal() - similar.exp().sum(dim=1).log()).mean()
    torch.testing.assert_close(self_contrast(features, 0.8), expected)
    assert self_contrast(30 * torch.eye(5), 0.8) == 0  # orthogonal and large: nothing is like another


def test_the_contrast_has_the_means_of_older_classes(make_stream: Any, scenario: Scenario) -> None:
    plugin = MOS(**SMALL, contrast=0.5)
    stream = make_stream(plugin, **TRAINING, on=scenario.first(2))
    stream.run()
    step = stream.learner.step_of(next(iter(stream.learner.batches_of(scenario.tasks[1].train))))
    everything = torch.cat([plugin._gaussians.means[:2], step.features])
    similar = everything @ everything.T / 0.8
    expected = 0.5 * F.cross_entropy(similar, torch.arange(len(everything)))
    torch.testing.assert_close(plugin.loss(stream.learner, step), expected)
    assert len(plugin._gaussians.means) == 4


def test_the_choice_ends_where_the_task_stays_the_same_or_after_four_answers() -> None:
    owners = torch.tensor([0, 1, 2])
    names = torch.tensor([[1, 0, 1], [1, 2, 0], [0, 1, 2]])  # of image b under adapter a: the class that it names
    logits = F.one_hot(names, 3).float()
    # image 0 goes from 0 to 1 and stays; image 1 swings between 1 and 2; image 2 goes 0, 1, 0, 1
    first = torch.tensor([0, 1, 0])
    assert [refined(logits, owners, first, answers).tolist() for answers in (1, 2, 3, 4)] == [
        [0, 1, 0],
        [1, 2, 1],
        [1, 1, 0],
        [1, 2, 1],
    ]
    assert refined(logits, owners, torch.tensor([1, 0, 2]), 4).tolist() == [1, 0, 2]  # fixed points stay


def test_answers_are_the_vote_of_the_refined_head_and_the_prototypes(
    learned: tuple[Watched, Any], scenario: Scenario
) -> None:
    plugin, stream = learned
    learner = stream.learner.eval()
    every = [*plugin.adapters.kept, plugin.adapters.current]

    def under(number: int, rows: np.ndarray) -> torch.Tensor:
        for place, module in enumerate(every):
            module.enabled = place == number
        with torch.no_grad():
            return learner.backbone(learner.backbone.normalize(learner.images_of(rows)))

    means = []
    for task in scenario.tasks:
        features = under(0, task.train)
        means += [features[scenario.labels[task.train] == label].mean(dim=0) for label in task.classes]
    torch.testing.assert_close(plugin._prototypes, torch.stack(means), rtol=1e-4, atol=1e-5)
    rows = np.concatenate([task.test for task in scenario.tasks])
    cosines = F.cosine_similarity(under(0, rows)[:, None], torch.stack(means)[None], dim=2)
    heads = torch.stack([learner.head(under(number, rows)) for number in range(3)]).detach()
    answers = []
    for image, row in enumerate(cosines):
        chosen = int(row.argmax()) // 2
        for _ in range(3):
            following = int(heads[chosen, image].argmax()) // 2
            if following == chosen:
                break
            chosen = following
        answers.append(int((heads[chosen, image].softmax(0) + (3 * row).softmax(0)).argmax()))
    for module in every:
        module.enabled = module is plugin.adapters.current
    np.testing.assert_array_equal(stream.matrix.class_incremental[-1], answers)


def test_an_image_is_answered_alone_as_among_others(learned: tuple[Watched, Any], scenario: Scenario) -> None:
    _, stream = learned
    rows = np.concatenate([task.test for task in scenario.tasks])
    model = TrainedModel(stream.learner, scenario.classes)
    apart = [model.predict(scenario.table.images[rows[part]]) for part in np.array_split(np.arange(len(rows)), 9)]
    np.testing.assert_array_equal(np.concatenate(apart), stream.matrix.class_incremental[-1])


@pytest.mark.slow
def test_behind_acl_features_are_of_the_adapted_network(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(ACL(lr=0.05), MOS(**SMALL), **TRAINING)
    stream.run()
    rows = np.concatenate([task.test for task in scenario.tasks])
    answers = TrainedModel(stream.learner, scenario.classes).predict(scenario.table.images[rows])
    np.testing.assert_array_equal(answers, stream.matrix.class_incremental[-1])


def test_each_task_adds_the_papers_parameters(learned: tuple[Watched, Any]) -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224")
    built = build_pet("adaptformer", model, size=16, blocks="all", generator=torch.Generator())
    assert sum(value.numel() for value in built.parameters()) == 304_320
    plugin, stream = learned
    one = sum(value.numel() for value in plugin.adapters.current.parameters())
    assert stream.tasks[-1].trainable_parameters == one + 2 * 193  # and the newest part of the head
    kept = plugin.stored_bytes()
    assert kept == {"modules": 3 * 4 * one, "statistics": 6 * 4 * (192 + 192**2), "prototypes": 6 * 4 * 192}


def test_what_is_refused(make_stream: Any, scenario: Scenario) -> None:
    with pytest.raises(UserError, match=r"mos: training\.head_classes must be seen"):
        make_stream(MOS(), head_classes="stream").learner.start(scenario)
    with pytest.raises(UserError, match=r"mos: alpha is 1\.5, but must be at least 0 and at most 1"):
        MOS(alpha=1.5)
    with pytest.raises(UserError, match="mos: answers is 0, but must be at least 1"):
        MOS(answers=0)
    for other, reason in {"slca": "aligned already", "momentum": "other weights", "ease": "both answer"}.items():
        with pytest.raises(UserError, match=reason):
            check_method([(name, find_plugin(name)[1]) for name in ("mos", other)], "class_incremental")
