"""Batches that pass through the backbone in parts: the same is learned, whatever the loss compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_methods import SMALL
from torch import Tensor, nn

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.learner.options import TrainingSpec
from clsuite.learner.parts import encode_in_parts
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, load_class
from clsuite.runner.options import RunOptions
from clsuite.runner.resolve import resolve_methods
from clsuite.runner.spec import BenchmarkSpec
from clsuite.stream.loop import Stream

MakeStream = Callable[..., Stream]


class Contrast(Plugin):
    """A loss that compares all samples of a batch with one another."""

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The entropy of the similarities, batch statistics and all."""
        features = step.features / step.features.std(dim=0).clamp_min(1e-6).mean()
        return torch.logsumexp(features @ features.T / 100, dim=1).var()


def learned(make_stream: MakeStream, plugin: Plugin, **training: Any) -> tuple[Any, dict[str, Tensor], list[Any]]:
    stream = make_stream(plugin, **training)
    stream.run()
    losses = [task.final_loss for task in stream.tasks]
    return stream.matrix.counts(), stream.learner.state_dict(), losses


REST = ("finetune", "pet", "lwf", "agem")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["replay", "der", "coda_prompt", *(pytest.param(name, marks=pytest.mark.nightly) for name in REST)],
)
def test_counts_are_those_of_the_whole_batch(make_stream: MakeStream, name: str) -> None:
    """Eight samples in three parts. Losses agree to 1e-3 of their size: sums are rounded in another order."""
    cls = load_class(catalog()[name])
    whole = learned(make_stream, cls(**SMALL.get(name, {})), augment="crop_flip")
    parts = learned(make_stream, cls(**SMALL.get(name, {})), augment="crop_flip", accumulate=3)
    assert parts[0] == whole[0]
    assert parts[2] == pytest.approx(whole[2], rel=1e-3)


@pytest.mark.slow
def test_a_loss_that_compares_samples_is_the_same(make_stream: MakeStream) -> None:
    whole, parts = (learned(make_stream, Contrast(), accumulate=number) for number in (1, 4))
    assert parts[0] == whole[0]
    assert parts[2] == pytest.approx(whole[2], rel=1e-3)


@pytest.mark.slow
def test_no_more_than_a_part_is_in_the_network_at_a_time(make_stream: MakeStream) -> None:
    stream, seen = make_stream(Plugin(), accumulate=4), set[int]()
    stream.learner.backbone.register_forward_hook(
        lambda module, args, output: seen.add(len(output)) if module.training else None
    )
    stream.run()
    assert max(seen) == 2


def test_parts_of_a_batch_that_is_smaller_than_their_number() -> None:
    layer = nn.Linear(4, 2)
    images = torch.ones(2, 4)
    batch = Batch(images, torch.zeros(2).long(), torch.arange(2), torch.zeros(2, dtype=torch.bool))
    features = encode_in_parts(lambda part: layer(part.images), batch, 5)
    assert torch.allclose(features, layer(images))
    torch.autograd.backward(features.sum())
    assert layer.weight.grad is not None
    assert np.allclose(layer.weight.grad, 2.0)


def test_the_default_is_not_written() -> None:
    assert "accumulate" not in TrainingSpec().model_dump()
    assert TrainingSpec(accumulate=2).model_dump()["accumulate"] == 2
    assert TrainingSpec.model_validate(TrainingSpec(accumulate=2).model_dump()).accumulate == 2


class Normalizes(Plugin):
    """Puts a batch normalization into the model."""

    def on_stream_start(self, learner: Learner, scenario: Any) -> None:
        """Register it."""
        learner.register_plugin_module(self, "norm", nn.BatchNorm1d(4))


def test_batch_normalizations_that_are_trained_are_refused(make_stream: MakeStream) -> None:
    with pytest.raises(UserError, match=r"training\.accumulate takes batches apart"):
        make_stream(Normalizes(), accumulate=2).run()


@pytest.mark.parametrize(
    ("method", "backbone", "words"),
    [
        ("finetune", {"name": "resnet18", "weights": "random"}, "backbone 'resnet18' is a ResNet"),
        ("l2p(diversify=True, pool=4, top_k=2)", {}, "plugin 'l2p' with diversify"),
        ("l2m", {}, "plugin 'l2m' with diversify"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused_before_any_run(
    method: str, backbone: dict[str, Any], words: str, tmp_path: Any
) -> None:
    spec = BenchmarkSpec.model_validate(
        {
            "name": "mine",
            "dataset": {"name": "digits"},
            "backbone": {"image_size": 32, **backbone},
            "training": {"accumulate": 2},
            "methods": {"one": method},
        }
    )
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        resolve_methods(spec, RunOptions(), tmp_path)
