"""SPU: which weights it trains, by which score, and its loss of image-text pairs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from clip_streams import ZERO_SHOT, clip_stream
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite.plugin.helpers import weights_of
from clsuite.scenarios import Scenario
from clsuite_plugins.spu import SPU, largest

SGD = {"name": "sgd", "lr": 0.01, "weight_decay": 0.0}


def begun(plugin: SPU, stream: Any, scenario: Scenario) -> Learner:
    learner: Learner = stream.learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    return learner


def test_a_tenth_of_each_first_layer_differs_and_everything_else_is_as_it_was(
    make_stream: Any, scenario: Scenario
) -> None:
    spu = SPU(head_epochs=1)
    stream = make_stream(spu, on=scenario.first(1), optimizer={"lr": 5e-4, "weight_decay": 0.1})
    before = weights_of(stream.learner.backbone)
    stream.run()
    for name, value in weights_of(stream.learner.backbone).items():
        moved = int((value != before[name]).sum())
        if name.endswith("mlp.fc1.weight"):
            assert 0 < moved <= int(0.1 * value.numel()) == int(spu._masks[name].sum())
            assert not (value != before[name])[~spu._masks[name]].any()
        else:
            assert (moved > 0) == name.endswith("mlp.fc1.bias"), name
    assert spu.stored_bytes() == {"masks": sum(-(-mask.numel() // 8) for mask in spu._masks.values())}


def test_the_score_is_the_gradient_of_the_squared_logits(make_stream: Any, scenario: Scenario) -> None:
    spu, task = SPU(scored=1.0, head_epochs=1), scenario.tasks[0]
    learner = begun(spu, make_stream(spu, batch_size=5), scenario)
    images = learner.backbone.normalize(learner.images_of(task.train))
    weight = learner.backbone.get_parameter("model.blocks.0.mlp.fc1.weight")
    learner.eval()
    gradient = torch.autograd.grad(learner(images).square().sum(), weight)[0].abs()
    mask = spu.choose(learner, task)["model.blocks.0.mlp.fc1.weight"]
    assert (gradient[mask].min() / gradient[~mask].max()) > 0.999
    assert largest(torch.tensor([[3.0, 1.0], [4.0, 2.0]]), 0.5).tolist() == [[True, False], [True, False]]
    passed = learner.gradient_samples
    SPU(scored=0.25).choose(learner, task)
    assert learner.gradient_samples - passed == len(task.train) // 4


class FirstLayers(Plugin):
    """Trains the first layers and the head alone."""

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        for name, value in learner.backbone.named_parameters():
            value.requires_grad_(".mlp.fc1." in name)


def test_with_a_share_of_all_it_is_the_training_of_the_first_layers_to_the_bit(
    make_stream: Any, scenario: Scenario
) -> None:
    streams = [
        make_stream(plugin, on=scenario.first(2), optimizer=SGD)
        for plugin in (SPU(share=1.0, head_epochs=0), FirstLayers())
    ]
    for stream in streams:
        stream.run()
    ours, plain = (weights_of(stream.learner) for stream in streams)
    assert all(torch.equal(value, ours[name]) for name, value in plain.items())


def test_on_clip_both_towers_are_chosen_from_and_pairs_compete_within_the_batch(scenario: Scenario) -> None:
    spu = SPU(objective="pairs", head_epochs=0)
    stream = clip_stream(scenario.first(1), spu, **ZERO_SHOT, tune="both")
    learner = begun(spu, stream, scenario.first(1))
    trained = {name for name, value in learner.backbone.named_parameters() if value.requires_grad}
    assert trained == spu._masks.keys()
    assert {name.rpartition("mlp.")[2] for name in trained} == {"c_fc.weight", "c_fc.bias", "clip.visual.proj"}
    assert any("visual" in name for name in trained)
    assert any("visual" not in name for name in trained)
    batch = next(iter(learner.batches_of(scenario.tasks[0].train)))
    step = learner.step_of(batch)
    clip: Any = learner.backbone
    texts = clip.encode_tokens(
        clip.tokenize([f"a photo of a {scenario.class_names[label].text}." for label in batch.labels.tolist()])
    )
    logits = clip.logits(step.features, F.normalize(texts.float(), dim=1))
    own = torch.arange(len(batch))
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(spu.classification(learner, step), expected, rtol=1e-4, atol=1e-5)


def test_what_it_cannot_be_combined_with(make_stream: Any, scenario: Scenario) -> None:
    def check(*names: str) -> None:
        check_method([(name, find_plugin(name)[1]) for name in names], "class_incremental")

    check("spu", "replay")
    with pytest.raises(UserError, match="both choose the weights that are trained"):
        check("saft", "spu")
    with pytest.raises(UserError, match="'pet' freezes the backbone"):
        check("pet", "spu")
    with pytest.raises(UserError, match="spu with objective: pairs"):
        make_stream(SPU(objective="pairs")).learner.start(scenario)
