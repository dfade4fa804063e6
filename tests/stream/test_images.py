"""Images are transformed in front of every pass, and features that were kept are known to be old."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor, nn

from clsuite.backbones.vit import Backbone
from clsuite.errors import UserError
from clsuite.learner.forward_identity import AlteredError, structure_sha256
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, load_class
from clsuite_plugins.finetune import Finetune


class Paints(nn.Module):
    """Adds a picture."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.picture = nn.Parameter(torch.zeros(3, size, size))


class InputTuning(Plugin):
    """A frozen network whose input is learned: one picture that is added to every image (ICI)."""

    def on_stream_start(self, learner: Learner, scenario: Any) -> None:
        learner.backbone.requires_grad_(False)
        self.paints = Paints(scenario.table.images.shape[-1])
        learner.register_plugin_module(self, "paints", self.paints)

    def transform_images(self, learner: Learner, images: Tensor) -> Tensor:
        return images + self.paints.picture


class Probe(Plugin):
    """A frozen network alone."""

    def on_stream_start(self, learner: Learner, scenario: Any) -> None:
        learner.backbone.requires_grad_(False)


def test_it_begins_as_the_plain_network_and_the_input_is_learned(make_stream: Any) -> None:
    tunes, probe = (make_stream(one, epochs=2) for one in (InputTuning(), Probe()))
    before = {name: value.clone() for name, value in tunes.learner.backbone.state_dict().items()}
    tunes.run()
    picture = tunes.learner.plugins[0].paints.picture.detach()
    assert float(picture.abs().max()) > 0
    assert all(torch.equal(value, before[name]) for name, value in tunes.learner.backbone.state_dict().items())
    rows = tunes.scenario.tasks[0].test
    images = tunes.learner.backbone.normalize(tunes.learner.images_of(rows)).float()
    learned, plain = tunes.learner.features_of(rows), probe.learner.backbone.eval()
    with torch.no_grad():
        torch.testing.assert_close(learned, plain(images + picture), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_interrupted_and_resumed_it_ends_in_the_same_bits(make_stream: Any, tmp_path: Path) -> None:
    alone = make_stream(InputTuning())
    alone.run()
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, alone.tasks[1].steps - 1, lambda: [InputTuning()])
    for mine, his in zip(bits(again), bits(alone), strict=True):
        assert mine == his


class Dims(Plugin):
    """Darkens images more with each task; nothing of it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0
        self.shapes: set[int] = set()

    def on_task_start(self, learner: Learner, task: Any) -> None:
        self.factor = 1.0 - 0.2 * (task.index + 1)

    def transform_images(self, learner: Learner, images: Tensor) -> Tensor:
        self.shapes.add(images.dim())
        return images * self.factor


def test_features_that_were_kept_are_forgotten_when_it_changes(make_stream: Any) -> None:
    """Of a frozen network, features of earlier tasks are looked up unless images have become others."""
    dims = Dims()
    stream = make_stream(dims, load_class(catalog()["ncm"])())
    seen: list[Tensor] = []

    class Looks(Plugin):
        def on_task_end(self, learner: Learner, task: Any) -> None:
            rows = learner.scenario.tasks[0].train
            images = learner.backbone.normalize(learner.images_of(rows)).float()
            found = learner.features_of(rows)
            with torch.no_grad():
                torch.testing.assert_close(found, learner.backbone.eval()(images), rtol=0, atol=1e-5)
            seen.append(found.clone())

    stream = make_stream(dims, load_class(catalog()["ncm"])(), Looks())
    stream.run()
    assert not torch.allclose(seen[0], seen[1])
    assert dims.shapes == {4}


@pytest.mark.slow
def test_the_network_is_known_to_be_another_one_and_is_plain_before_the_stream(make_stream: Any) -> None:
    stream, plain = make_stream(Dims()), make_stream(Finetune())
    structure_sha256(stream.learner.backbone)
    for one in (stream, plain):
        one.run()
    assert stream.matrix.class_incremental[0].tolist() == plain.matrix.class_incremental[0].tolist()
    with pytest.raises(AlteredError):
        structure_sha256(stream.learner.backbone)
    stream.learner.leave_backbone()
    backbone: Backbone = stream.learner.backbone
    structure_sha256(backbone)


def test_images_of_another_shape_are_refused(make_stream: Any) -> None:
    class Crops(Plugin):
        def transform_images(self, learner: Learner, images: Tensor) -> Tensor:
            return images[:, :, 2:]

    with pytest.raises(UserError, match="transform_images of Crops returns"):
        make_stream(Crops()).run()
