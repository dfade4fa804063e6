"""ICI: transformations that begin with nothing, their sizes, a frozen network behind them, and an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.ici import ICI, Picture, ResidualConvolution
from clsuite_plugins.linear_probe import LinearProbe

KINDS: dict[str, dict[str, Any]] = {
    "delta": {"kind": "delta"},
    "frame": {"kind": "frame", "border": 3},
    "one layer": {"kind": "convolution", "layers": 1, "kernel": 5},
    "two layers": {"kind": "convolution", "channels": 8},
}
COUNTS = {"delta": 3 * 32**2, "frame": 3 * (32**2 - 26**2), "one layer": 228, "two layers": 8 * 27 + 8 + 3 * 72 + 3}


class Passes(Plugin):
    """Gives images on as they are, in every pass, and has a parameter in front of the network that nothing trains."""

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        learner.register_plugin_module(self, "nothing", Picture(2, 2))

    def transform_images(self, learner: Learner, images: Tensor) -> Tensor:
        return images


@pytest.mark.parametrize("name", KINDS)
def test_it_changes_nothing_at_first_and_has_its_size(name: str, make_stream: Any, scenario: Scenario) -> None:
    learner, plain = make_stream(ICI(**KINDS[name])).learner.eval(), make_stream().learner.eval()
    learner.start(scenario)
    assert sum(value.numel() for value in learner.plugin_modules.parameters()) == COUNTS[name]
    images = plain.backbone.normalize(torch.tensor(scenario.table.images[:8]))
    assert torch.equal(learner.backbone(images), plain.backbone(images))
    learner.backbone(images).sum().backward()
    reached = [
        value.grad is not None and bool(value.grad.abs().sum() > 0) for value in learner.plugin_modules.parameters()
    ]
    assert reached == ([False, True] * 2 if name == "two layers" else [True] * len(reached))


def test_a_transformation_that_does_not_move_is_the_linear_probe_to_the_bit(
    make_stream: Any, scenario: Scenario
) -> None:
    still = {"optimizer": OptimizerSpec(name="sgd", lr=1e-30, head_lr=0.1), "on": scenario.first(2), "loss": "local"}
    streams = [make_stream(*plugins, **still) for plugins in ([ICI()], [LinearProbe(), Passes()])]
    for stream in streams:
        stream.run()
    assert bits(streams[0])[0] == bits(streams[1])[0]
    heads = [stream.learner.head.state_dict() for stream in streams]
    assert all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())


@pytest.mark.parametrize("name", ["frame", "two layers"])
def test_it_learns_in_front_of_a_network_that_stays_as_it_is(name: str, make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(ICI(**KINDS[name]), on=scenario.first(1), optimizer=OptimizerSpec(lr=0.01))
    before = {key: value.clone() for key, value in stream.learner.backbone.state_dict().items()}
    first = [value.detach().clone() for value in stream.learner.plugin_modules.parameters()]
    stream.run()
    assert all(torch.equal(value, before[key]) for key, value in stream.learner.backbone.state_dict().items())
    part = stream.learner.plugins[0].part
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        added = part(images) - images
    assert not first
    assert float(added.abs().max()) > 1e-3
    if name == "frame":
        assert float(added[..., 3:-3, 3:-3].abs().max()) == 0


def test_a_convolution_is_the_sum_of_image_and_layers() -> None:
    part = ResidualConvolution(torch.Generator().manual_seed(0), layers=2, channels=4, kernel=3)
    with torch.no_grad():
        part.kernels[1].normal_(generator=torch.Generator().manual_seed(1))
        images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
        hidden = F.conv2d(F.relu(F.conv2d(images, part.kernels[0], padding=1)), part.kernels[1], padding=1)
        torch.testing.assert_close(part(images), images + hidden)


@pytest.mark.slow
def test_interrupted_and_resumed_it_ends_in_the_same_bits(make_stream: Any, scenario: Scenario, tmp_path: Path) -> None:
    given = {"on": scenario.first(2)}
    alone = make_stream(ICI(kind="convolution"), **given)
    alone.run()
    method = lambda: [ICI(kind="convolution")]  # noqa: E731
    again = interrupted(make_stream, tmp_path / "x.ckpt", 1, alone.tasks[1].steps - 1, method, **given)
    assert bits(again) == bits(alone)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"kind": "frame", "border": 0}, "ici: border is 0"),
        ({"kind": "convolution", "layers": 3}, "ici: layers is 3"),
        ({"kind": "convolution", "kernel": 4}, "ici: kernel is 4, but must be odd"),
        ({"kind": "delta", "border": 2}, "plugin 'ici' has no use for border where kind is delta"),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        ICI(**given)


def test_a_frame_that_images_have_no_room_for_is_refused(make_stream: Any, scenario: Scenario) -> None:
    with pytest.raises(UserError, match="ici: border is 17, but images have 32 x 32 pixels"):
        make_stream(ICI(kind="frame", border=17)).learner.start(scenario)
