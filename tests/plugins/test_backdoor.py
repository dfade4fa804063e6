"""The backdoor adjustment: networks that are tuned as if alone, and the sum of their logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.plugin.helpers import weights_of
from clsuite.scenarios import Scenario
from clsuite_plugins.backdoor import Backdoor

OTHER = {"omniglot_vit": "bundled"}


@pytest.mark.slow
def test_networks_are_tuned_as_if_alone_and_their_logits_are_summed(make_stream: Any, scenario: Scenario) -> None:
    plugin = Backdoor(OTHER)
    streams = [make_stream(*plugins, on=scenario.first(2)) for plugins in ((plugin,), (Backdoor(),), ())]
    for stream in streams:
        stream.run()
    ours, none, plain = (stream.learner for stream in streams)
    for name, value in weights_of(plain.backbone).items():
        assert torch.equal(value, weights_of(none.backbone)[name]), name
        assert torch.equal(value, weights_of(ours.backbone)[name]), name
    other = plugin._others[0]
    assert other.head.sizes == ours.head.sizes
    assert not torch.equal(other.head.groups[0].weight, ours.head.groups[0].weight)
    images = ours.backbone.normalize(ours.images_of(scenario.tasks[0].test[:4]))
    rows = torch.from_numpy(scenario.tasks[0].test[:4])
    batch = Batch(images, ours.labels_of(scenario.tasks[0].test[:4]), rows, torch.zeros(4, dtype=torch.bool))
    ours.eval()
    with torch.no_grad():
        expected = ours(images) + other.head(other.backbone(images))
        torch.testing.assert_close(ours.predict_logits(batch), expected)
    passed = [2 * one.gradient_samples for one in streams[2].tasks]
    assert [one.gradient_samples for one in streams[0].tasks] == passed
    size = sum(value.nbytes for value in other.backbone.parameters())
    assert size < plugin.stored_bytes()["weights"] < 1.01 * size
    assert Backdoor().stored_bytes() == {"weights": 0}


def test_each_network_gets_the_images_as_its_own_pre_training_has_normalized_them(
    make_stream: Any, scenario: Scenario
) -> None:
    plugin = Backdoor(OTHER)
    learner = make_stream(plugin).learner
    learner.start(scenario)
    other, images = plugin._others[0], learner.images_of(scenario.tasks[0].test[:4])
    other.backbone.normalize.mean, other.backbone.normalize.std = torch.full((1, 3, 1, 1), 99.0), torch.tensor(7.0)
    other._alike = False
    expected = (images.float().expand(-1, 3, -1, -1) - 99) / 7
    torch.testing.assert_close(other._own_input(learner.backbone.normalize(images)), expected, rtol=1e-4, atol=1e-4)


def test_weights_that_are_others_are_refused(make_stream: Any, scenario: Scenario) -> None:
    with pytest.raises(UserError, match="backdoor: fingerprints names 'other'"):
        Backdoor(OTHER, {"other": "abc"})
    with pytest.raises(UserError, match=r"the weights 'bundled' have the SHA-256 \w{12}, not abcxyz"):
        make_stream(Backdoor(OTHER, {"omniglot_vit": "abcxyz"})).learner.start(scenario)
