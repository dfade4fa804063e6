"""ZSCL: against a plain loop, at its limits, its references, and what it keeps."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from clip_streams import ZERO_SHOT, MakeStream, assert_resumes_as, clip_stream
from references import zscl as plain

from clsuite.errors import UserError
from clsuite.learner.options import OptimizerSpec
from clsuite.plugin.helpers import ClassTexts, distillation
from clsuite.scenarios import Scenario
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.zscl import ZSCL

BOTH: dict[str, Any] = {**ZERO_SHOT, "tune": "both"}


@pytest.fixture
def make_clip(scenario: Scenario) -> MakeStream:
    """Makes a stream of digits for a random clip_nano, both of whose towers are trained."""
    return partial(clip_stream, scenario, **BOTH)


class WithoutScale(Finetune):
    """Fine-tuning with a frozen logit scale."""

    def on_stream_start(self, learner: Any, scenario: Any) -> None:
        learner.backbone.clip.logit_scale.requires_grad_(False)


def weights(stream: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in stream.learner.backbone.clip.named_parameters()}


def test_a_task_ends_in_the_weights_of_a_plain_loop(make_clip: MakeStream, scenario: Scenario) -> None:
    plugin = ZSCL(reference_batch=6, ensemble_every=2, l2=0.5)
    stream = make_clip(plugin, optimizer=OptimizerSpec(name="sgd", lr=1e-2, momentum=0.0))
    learner, ends = stream.learner, list[dict[str, torch.Tensor]]()
    clip, zero_shot = copy.deepcopy(learner.backbone.clip), copy.deepcopy(learner.backbone.clip)
    batches, references, raw, end = [], [], plugin.loss, learner.end_task

    def look(learner: Any, step: Any) -> Any:
        batches.append((step.batch.images, step.batch.labels))
        number, draws = len(plugin._image_features), learner.generator("zscl references", plugin._steps)
        rows = torch.randperm(number, generator=draws)[:6]
        references.append(learner.backbone.normalize(plugin._pixels(learner, rows)))
        return raw(learner, step)

    def keep(task: Any) -> None:
        end(task)
        ends.append(weights(stream))
        raise KeyboardInterrupt

    plugin.loss, learner.end_task = look, keep  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stream.run()
    prompts = learner.backbone.tokenize([f"a photo of a {scenario.classes[label]}." for label in (0, 1)])
    sgd = partial(torch.optim.SGD, lr=1e-2)
    expected = plain.task(clip, zero_shot, batches, references, prompts, prompts, make_optimizer=sgd, l2=0.5, every=2)
    assert len(batches) >= 3  # the mean has two steps besides the start
    for name, value in expected.items():
        torch.testing.assert_close(ends[0][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_distillation_is_at_its_minimum_at_the_start(make_clip: MakeStream, scenario: Scenario) -> None:
    learner = make_clip(plugin := ZSCL(l2=0)).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    pixels = plugin._pixels(learner, torch.arange(len(plugin._image_features)))
    features = learner.backbone(learner.backbone.normalize(pixels)).detach().requires_grad_(True)
    teacher, student = (
        learner.backbone.logits(one, plugin._text_features) for one in (plugin._image_features, features)
    )
    terms = distillation(teacher, student, 2.0) + distillation(teacher.T, student.T, 2.0)
    (gradient,) = torch.autograd.grad(terms, features)
    assert gradient.abs().max() < 1e-5
    other = distillation(teacher, 2 * learner.backbone.logits(features, plugin._text_features), 2.0)
    assert torch.autograd.grad(other, features)[0].abs().max() > 1e-4


def test_the_mean_counts_the_start_and_the_teacher_keeps_its_bits(make_clip: MakeStream) -> None:
    """One step a task: the mean of the start and what the step gave."""
    plugin = ZSCL(l2=0)
    stream = make_clip(plugin, batch_size=64)
    start, stepped, after = weights(stream), list[dict[str, torch.Tensor]](), list[dict[str, torch.Tensor]]()
    enter, end = plugin.on_train_batch_end, stream.learner.end_task

    def before_the_mean(*arguments: Any) -> None:
        stepped.append(weights(stream))
        enter(*arguments)

    def look(task: Any) -> None:
        end(task)
        after.append(weights(stream))

    plugin.on_train_batch_end = before_the_mean  # type: ignore[method-assign]
    stream.learner.end_task = look  # type: ignore[method-assign]
    stream.run()
    for name, value in start.items():
        torch.testing.assert_close(after[0][name], (value + stepped[0][name]) / 2, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(after[1][name], (after[0][name] + stepped[1][name]) / 2, rtol=1e-5, atol=1e-7)
        assert torch.equal(plugin._teacher.clip.get_parameter(name), value)
    assert torch.equal(after[2]["logit_scale"], start["logit_scale"])


@pytest.mark.slow
def test_an_infinite_constraint_leaves_the_zero_shot_model(make_clip: MakeStream, scenario: Scenario) -> None:
    free, held = (
        make_clip(ZSCL(l2=l2), optimizer=OptimizerSpec(name="sgd", lr=1e-3 / max(l2, 1.0), momentum=0.0))
        for l2 in (0.0, 1e6)
    )
    zero_shot = ClassTexts(held.learner.backbone, scenario.classes)
    rows = scenario.tasks[0].test
    with torch.no_grad():
        expected = zero_shot.logits(held.learner.backbone(held.learner.backbone.normalize(images(scenario, rows))), 6)
    start = weights(held)
    for stream in (free, held):
        stream.run()
    moved = [
        max(float((value - start[name]).abs().max()) for name, value in weights(one).items()) for one in (free, held)
    ]
    assert moved[1] < 1e-6 < moved[0]
    answers = held.matrix.class_incremental[-1][held.matrix.task == 0]
    assert (answers == expected.argmax(dim=1).numpy()).mean() > 0.98


def images(scenario: Scenario, rows: Any) -> torch.Tensor:
    return torch.from_numpy(scenario.table.images[rows])


@pytest.mark.slow
def test_without_its_terms_it_is_finetuning(make_clip: MakeStream) -> None:
    """And LwF's variant, whose teacher is the model itself, differs from it."""
    sgd = OptimizerSpec(name="sgd", lr=1e-2, momentum=0.0)
    methods = [
        WithoutScale(),
        ZSCL(kd_image=0, kd_text=0, l2=0, ensemble_every=0),
        ZSCL(l2=0, ensemble_every=0, teacher="previous", texts="random", random_texts=5),
    ]
    streams = [make_clip(method, optimizer=sgd) for method in methods]
    for stream in streams:
        stream.run()
    plainly, without, lwf = map(weights, streams)
    for name, value in plainly.items():
        torch.testing.assert_close(without[name], value, rtol=1e-4, atol=1e-6)
    assert any((lwf[name] - value).abs().max() > 1e-5 for name, value in plainly.items())


@pytest.mark.slow
@pytest.mark.parametrize("texts", ["random", "classes"])
def test_resumes_bit_identically(
    texts: str, make_clip: MakeStream, tmp_path: Path, image_tree: Callable[..., Path]
) -> None:
    folder = str(image_tree() / "train") if texts == "classes" else None
    given: dict[str, Any] = {"texts": texts, "reference": folder, "ensemble_every": 2, "reference_batch": 4}
    whole = make_clip(ZSCL(**given))
    whole.run()
    assert whole.learner.gradient_samples > 24
    assert_resumes_as(whole, lambda **more: make_clip(ZSCL(**given), **more), tmp_path)


def test_the_images_of_a_task_are_not_copied(make_clip: MakeStream, scenario: Scenario) -> None:
    plugin, task = ZSCL(), scenario.tasks[1]
    learner = make_clip(plugin).learner
    learner.start(scenario)
    learner.begin_task(task)
    assert plugin._read is not None
    assert plugin._read[0] is scenario.table
    pixels = plugin._pixels(learner, torch.tensor([2, 0]))
    assert torch.equal(pixels, torch.from_numpy(scenario.table.images[task.train[[2, 0]]]))


def test_references_are_a_folder_of_images_and_a_file_of_texts(
    make_clip: MakeStream, scenario: Scenario, image_tree: Callable[..., Path]
) -> None:
    root = image_tree()
    (root / "captions.txt").write_text("a fox in the snow\n\nan old teapot\n", encoding="utf-8")
    plugin = ZSCL(reference="tree/train", texts="tree/captions.txt", images_per_class=3)
    learner = make_clip(plugin).learner
    learner.data_root = root.parent
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    assert plugin._image_features.shape == (12, 32)
    assert plugin._text_features.shape == (2, 32)
    learner = make_clip(ZSCL(reference=str(root / "train"), fingerprint="00")).learner
    learner.start(scenario)
    with pytest.raises(UserError, match="fingerprint"):
        learner.begin_task(scenario.tasks[0])


def test_what_it_cannot_do_is_refused(make_clip: MakeStream, scenario: Scenario) -> None:
    with pytest.raises(UserError, match="zero_shot"):
        make_clip(ZSCL(), head="linear").learner.start(scenario)
    with pytest.raises(UserError, match="random tokens"):
        make_clip(ZSCL(texts="random", random_tokens=40)).learner.start(scenario)
    online = dataclasses.replace(scenario, kind="online")
    with pytest.raises(UserError, match="a stream of kind 'online' passes once: name a folder as reference"):
        make_clip(ZSCL()).learner.start(online)
    make_clip(ZSCL(reference="anywhere")).learner.start(online)
