"""MoDER: experts of classes, their composition, and whole streams."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from clip_streams import MakeStream, assert_resumes_as, clip_stream
from torch.nn import functional as F

from clsuite.plugin.helpers import one_against_rest
from clsuite.scenarios import Scenario
from clsuite_plugins.moder import MoDER


@pytest.fixture
def make_clip(scenario: Scenario) -> MakeStream:
    """Makes a stream of digits for a random clip_nano."""
    return partial(clip_stream, scenario)


def test_the_loss_is_one_class_against_the_rest() -> None:
    cosines = torch.tensor([[0.5, 0.1], [0.2, 0.4], [0.3, 0.0]])
    loss = one_against_rest(cosines, torch.tensor([4, 7, 9]), [4, 7], scale=10.0, middle=0.25)
    z = 10 * (cosines - 0.25)
    first = F.softplus(-z[0, 0]) + (F.softplus(z[1, 0]) + F.softplus(z[2, 0])) / 2
    second = F.softplus(-z[1, 1]) + (F.softplus(z[0, 1]) + F.softplus(z[2, 1])) / 2
    torch.testing.assert_close(loss, (first + second) / 2)
    alone = one_against_rest(cosines[:1], torch.tensor([4]), [4, 7], scale=10.0, middle=0.25)
    torch.testing.assert_close(alone, F.softplus(-z[0, 0]))


def run_first(make_clip: MakeStream, scenario: Scenario, **given: Any) -> tuple[Any, MoDER]:
    plugin = MoDER(epochs=3, lr=1e-2, **given)
    learner = make_clip(plugin).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    learner.end_task(scenario.tasks[0])
    return learner, plugin


def test_the_nearest_expert_of_a_seen_class_gives_its_own_prototype(make_clip: MakeStream, scenario: Scenario) -> None:
    learner, plugin = run_first(make_clip, scenario, retrieved=1)
    with torch.no_grad():
        frozen = plugin._texts.features(6)
        for label in (0, 1):
            mixed = torch.eye(2)[(frozen[[label]] @ frozen[[0, 1]].T).argmax(dim=1)]
            composed = plugin._under([label], mixed)
            torch.testing.assert_close(composed[0], plugin._prototypes[label], rtol=1e-5, atol=1e-6)
        assert (plugin._prototypes[:2] - frozen[:2]).abs().max() > 1e-3
        nothing = plugin._under([2, 3], torch.zeros(2, 2))
    torch.testing.assert_close(nothing, frozen[2:4], rtol=1e-5, atol=1e-6)
    assert learner.frozen


def test_an_unseen_class_has_the_shared_matrices_of_the_nearest(make_clip: MakeStream, scenario: Scenario) -> None:
    """The low-rank matrices of both experts, added to the weights with their shares."""
    learner, plugin = run_first(make_clip, scenario, retrieved=2, targets="fc1", temperature=0.5)
    with torch.no_grad():
        frozen = plugin._texts.features(6)
        shares = (frozen[5] @ frozen[:2].T / 0.5).softmax(dim=0)
        module = plugin._modules[0]
        for number, block in enumerate(learner.backbone.text_model.resblocks):
            part = module.parts[f"{number}_fc1"]
            rank = part.down.shape[0] // 2
            for place, share in enumerate(shares):
                rows = slice(place * rank, (place + 1) * rank)
                block.mlp.c_fc.weight += share * part.factor * part.up[:, rows] @ part.down[rows]
        torch.testing.assert_close(plugin._texts.features(6)[5], plugin._prototypes[5], rtol=1e-4, atol=1e-5)


def test_a_class_without_a_near_one_keeps_the_frozen_text(make_clip: MakeStream, scenario: Scenario) -> None:
    _, plugin = run_first(make_clip, scenario, nearness=1.0)
    with torch.no_grad():
        frozen = plugin._texts.features(6)
    torch.testing.assert_close(plugin._prototypes[2:], frozen[2:], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_old_experts_never_change_and_the_hub_grows_evenly(
    make_clip: MakeStream, scenario: Scenario, tmp_path: Path
) -> None:
    plugin = MoDER(epochs=2)
    stream = make_clip(plugin)
    kept, end, sizes = list[dict[str, torch.Tensor]](), stream.learner.end_task, list[int]()

    def look(task: Any) -> None:
        end(task)
        kept.append({name: value.clone() for name, value in plugin._modules[0].state_dict().items()})
        sizes.append(plugin.stored_bytes()["modules"])

    stream.learner.end_task = look  # type: ignore[method-assign]
    stream.run()
    assert all(torch.equal(value, kept[2][name]) for name, value in kept[0].items())
    assert sizes == [sizes[0], 2 * sizes[0], 3 * sizes[0]]
    assert stream.tasks[-1].steps == 0
    assert_resumes_as(stream, lambda **more: make_clip(MoDER(epochs=2), **more), tmp_path)


def test_the_row_before_the_stream_leaves_no_module_behind(make_clip: MakeStream) -> None:
    stream = make_clip(MoDER())
    stream._read_before()
    assert stream.learner.backbone.text_modules == ()
