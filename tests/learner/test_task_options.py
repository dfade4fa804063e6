"""Options of a recipe: steps, options of single tasks, label smoothing, and a scale that is left alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clsuite.backbones.clip import build_clip
from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.learner.heads import choose_towers
from clsuite.learner.loss import classification_loss
from clsuite.learner.options import TrainingSpec
from clsuite.learner.training_plan import TrainingPlan
from clsuite.runner.training import resolve_training
from clsuite.scenarios import Scenario
from clsuite.stream.loop import Stream
from clsuite_plugins.finetune import Finetune


def test_smoothing_is_pytorchs_over_the_classes_that_compete() -> None:
    logits, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 4, 3, 4, 3, 3])
    whole = classification_loss(logits, labels, "global", [3, 4], smoothing=0.2)
    torch.testing.assert_close(whole, F.cross_entropy(logits, labels, label_smoothing=0.2))
    local = classification_loss(logits, labels, "local", [3, 4], smoothing=0.2)
    torch.testing.assert_close(local, F.cross_entropy(logits[:, 3:], labels - 3, label_smoothing=0.2))
    mixed = torch.tensor([3, 0, 3, 4, 3, 3])  # an exemplar competes with all
    each = [
        F.cross_entropy(row[None] if label < 3 else row[None, 3:], (label if label < 3 else label - 3)[None],
                        label_smoothing=0.2)
        for row, label in zip(logits, mixed, strict=True)
    ]  # fmt: skip
    found = classification_loss(logits, mixed, "local", [3, 4], smoothing=0.2)
    torch.testing.assert_close(found, torch.stack(each).mean())
    soft = F.one_hot(labels, 5).float()
    of_soft = classification_loss(logits, labels, "local", [3, 4], targets=soft, smoothing=0.2)
    torch.testing.assert_close(of_soft, local)


def test_options_of_single_tasks() -> None:
    given = {"steps": 10, "by_task": {"mnist": {"optimizer": {"lr": 5e-5}}, "dtd": {"epochs": 3}}}
    spec = TrainingSpec.model_validate({**given, "optimizer": {"lr": 1e-5, "weight_decay": 0.1}})
    assert spec.of_task("mnist").optimizer.lr == 5e-5
    assert spec.of_task("mnist").optimizer.weight_decay == 0.1
    assert spec.of_task("mnist").steps == 10
    assert (spec.of_task("dtd").steps, spec.of_task("dtd").epochs) == (None, 3)
    assert spec.of_task("other") is spec
    for wrong, message in (({"head": "linear"}, "option of the single task 'mnist'"), ({"steps": 0}, "steps")):
        with pytest.raises(ValueError, match=message):
            TrainingSpec.model_validate({"by_task": {"mnist": wrong}})


def test_what_is_not_stated_is_in_no_record() -> None:
    recorded = TrainingSpec().recorded()
    assert not {"steps", "label_smoothing", "templates", "logit_scale", "by_task", "accumulate"} & {*recorded}
    assert TrainingSpec(steps=5, logit_scale="fixed").recorded()["steps"] == 5


def test_steps_give_way_to_epochs() -> None:
    base = TrainingSpec(steps=7)
    assert resolve_training(base, [], {"epochs": 2}, {}).steps is None
    assert resolve_training(base, [], {"epochs": 2}, {"steps": 3}).steps == 3
    assert TrainingPlan(base).with_options(epochs=2).options.steps is None
    assert [base.model_copy(update={"batch_size": 4}).for_images(images).epochs for images in (8, 28, 100)] == [4, 1, 1]


def test_a_fixed_scale_is_not_trained() -> None:
    backbone = build_clip(BackboneSpec(name="open_clip:clip_nano"), Weights("random"))
    for given, trained in (("trained", True), ("fixed", False)):
        choose_towers(backbone, TrainingSpec(head="zero_shot", tune="both", logit_scale=given))
        moving = {name for name, value in backbone.clip.named_parameters() if value.requires_grad}
        assert ("logit_scale" in moving) == trained
        assert {"text_projection", "visual.proj"} <= moving


def test_a_task_ends_after_its_steps(make_stream: Callable[..., Stream], scenario: Scenario) -> None:
    """A pass has two batches; the third of the first task, with which its five steps end, is not whole."""
    own, rates = scenario.tasks[1].name, list[tuple[int, float]]()

    class Watch(Finetune):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            rates.append((trainer.global_step, trainer.optimizers[0].param_groups[0]["lr"]))

    given = {own: {"steps": 2, "optimizer": {"lr": 0.25}}}
    stream = make_stream(Watch(), steps=5, batch_size=16, schedule="cosine", by_task=given)
    stream.run()
    assert [entry.steps for entry in stream.tasks] == [5, 2, 5]
    assert [entry.gradient_samples for entry in stream.tasks] == [26 + 26 + 16, 26, 26 + 26 + 16]
    assert all(entry.final_loss is not None for entry in stream.tasks)
    expected = [(step, 5e-4 * 0.5 * (1 + math.cos(math.pi * step / 5))) for step in range(5)]
    due = [*expected, (0, 0.25), (1, 0.125), *expected]
    assert [step for step, _ in rates] == [step for step, _ in due]
    assert [rate for _, rate in rates] == pytest.approx([rate for _, rate in due])
