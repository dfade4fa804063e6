"""Streams with a zero-shot head: what is trained, gradients, resuming, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clsuite.backbones.class_texts import ClassTexts
from clsuite.backbones.clip import build_clip
from clsuite.backbones.spec import BackboneSpec, Weights, find_weights
from clsuite.backbones.vit import build_backbone
from clsuite.data.batch import gather
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite.stream.loop import Stream
from clsuite_plugins.ewc import EWC
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.joint import Joint
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.lwf import LwF
from clsuite_plugins.zero_shot import ZeroShot

MakeClip = Callable[..., Stream]


@pytest.fixture
def make_clip(scenario: Scenario) -> MakeClip:
    """Makes a stream of digits for a random clip_nano."""

    def make(*plugins: Plugin, checkpoint: Path | None = None, **training: Any) -> Stream:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        backbone = build_clip(BackboneSpec(name="open_clip:clip_nano"), Weights("random"))
        given = {"optimizer": OptimizerSpec(lr=1e-3), "batch_size": 8, "precision": "32", "head": "zero_shot"}
        learner = Learner(backbone, TrainingSpec(**{**given, **training}), plugins, seed=0)
        return Stream(learner, scenario, torch.device("cpu"), checkpoint_path=checkpoint, identity="test")

    return make


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["both", *(pytest.param(one, marks=pytest.mark.nightly) for one in ("image", "text"))])
def test_the_chosen_tower_is_trained_and_learns(make_clip: MakeClip, scenario: Scenario, tune: str) -> None:
    stream = make_clip(Finetune(), tune=tune, epochs=20, loss="local", optimizer=OptimizerSpec(lr=3e-4))
    clip = stream.learner.backbone.clip
    before = {name: value.detach().clone() for name, value in clip.named_parameters()}
    stream.run()
    moved = {name for name, value in clip.named_parameters() if not torch.equal(before[name], value)}
    assert any(name.startswith("visual.") for name in moved) == (tune != "text")
    assert ("text_projection" in moved and "logit_scale" in moved) == (tune != "image")
    if tune != "text":  # the features of a random, frozen image tower do not tell digits apart
        assert stream.matrix.counts().of("task_aware").accuracy.diagonal().mean() > 0.65
    logits = stream.learner.head(stream.learner.features_of(scenario.tasks[2].test)).detach()
    again = ClassTexts(stream.learner.backbone, scenario.classes)
    with torch.no_grad():
        fresh = again.logits(stream.learner.features_of(scenario.tasks[2].test), 6)
    torch.testing.assert_close(logits, fresh, rtol=1e-4, atol=1e-4)
    last = stream.matrix.class_incremental[-1][stream.matrix.task == 2]
    np.testing.assert_array_equal(last, fresh.argmax(dim=1).numpy())


def test_zero_shot_equals_its_definition_and_trains_nothing(make_clip: MakeClip, scenario: Scenario) -> None:
    stream = make_clip(ZeroShot(), head="linear")
    stream.run()
    head = make_clip(LinearProbe()).learner
    head.start(scenario)
    for size in (2, 2, 2):
        head.head.grow(size, torch.Generator())
    test = np.concatenate([task.test for task in scenario.tasks])
    with torch.no_grad():
        expected = head.head(head.features_of(test)).argmax(dim=1)
    np.testing.assert_array_equal(stream.matrix.class_incremental[-1], expected.numpy())
    assert not any(parameter.requires_grad for parameter in stream.learner.parameters())
    assert stream.tasks[-1].steps == 0


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["image", "both"])
def test_resumes_bit_identically(make_clip: MakeClip, tmp_path: Path, tune: str) -> None:
    whole = make_clip(Finetune(), tune=tune)
    whole.run()
    cut = make_clip(Finetune(), checkpoint=tmp_path / "c.ckpt", tune=tune)
    learn = cut._learn

    def stop_at_the_second(task: Any) -> None:
        if task.index == 2:
            raise KeyboardInterrupt
        learn(task)

    cut._learn = stop_at_the_second  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = make_clip(Finetune(), checkpoint=tmp_path / "c.ckpt", tune=tune)
    again.run()
    np.testing.assert_array_equal(again.matrix.class_incremental, whole.matrix.class_incremental)
    for (name, ours), theirs in zip(
        again.learner.state_dict().items(), whole.learner.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("plugin", [Joint, LwF])
def test_methods_that_touch_the_head_work_with_it(make_clip: MakeClip, plugin: type[Plugin]) -> None:
    stream = make_clip(plugin(), tune="image")
    stream.run()
    assert (stream.matrix.class_incremental[-1] >= 0).all()


def test_ewc_weighs_the_text_tower(make_clip: MakeClip, scenario: Scenario) -> None:
    ewc = EWC(samples=4)
    learner = make_clip(ewc, tune="both").learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    learner.end_task(scenario.tasks[0])
    fisher = ewc.state_dict()["_importances"]
    assert fisher["backbone.clip.text_projection"].sum() > 0
    assert fisher["backbone.clip.visual.proj"].sum() > 0


@pytest.mark.parametrize("where", ["plugin", "head"])
def test_answers_are_the_same_under_autocast(where: str, make_clip: MakeClip, scenario: Scenario) -> None:
    """At a scale of 100 bf16 has steps of 0.25: without full precision answers change, and some are ties."""
    plugin = ZeroShot()
    learner = make_clip(plugin if where == "plugin" else Finetune()).learner
    learner.start(scenario)
    for task in scenario.tasks:
        learner.begin_task(task)
    with torch.no_grad():
        learner.backbone.clip.logit_scale.fill_(5.0)
    rows = scenario.tasks[0].test
    known = learner.features_of(rows)
    learner.encode = lambda batch: known  # type: ignore[method-assign]
    batch = gather(scenario.table, scenario.labels, rows)
    answer = (lambda: plugin.predict(learner, batch)) if where == "plugin" else (lambda: learner.head(known))
    with torch.no_grad():
        plain = answer()
        with torch.autocast("cpu", torch.bfloat16):
            low = answer()
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, plain, rtol=0, atol=0)
    assert (low.topk(2).values.diff() != 0).all()


def test_a_zero_shot_method_answers_before_it_has_seen_an_image(make_clip: MakeClip, scenario: Scenario) -> None:
    stream = make_clip(ZeroShot(), head="linear")
    stream.run()
    first = stream.matrix.task == 0
    np.testing.assert_array_equal(stream.matrix.class_incremental[0][first], stream.matrix.class_incremental[1][first])


def test_what_is_refused(make_clip: MakeClip) -> None:
    with pytest.raises(UserError, match="nothing is left to train"):
        make_clip(LinearProbe()).run()
    plain = build_backbone(BackboneSpec(), find_weights(BackboneSpec(), []))
    with pytest.raises(UserError, match=r"training.head: zero_shot needs a CLIP backbone"):
        Learner(plain, TrainingSpec(head="zero_shot"), [], seed=0)
    with pytest.raises(UserError, match=r"training.tune: both needs a CLIP backbone"):
        Learner(plain, TrainingSpec(tune="both"), [], seed=0)
