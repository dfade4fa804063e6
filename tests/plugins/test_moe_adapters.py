"""MoE-Adapters: gates, frozen experts, and the way back to the frozen CLIP."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_streams import ZERO_SHOT, MakeStream, assert_resumes_as, clip_stream

from clsuite.backbones.class_texts import ClassTexts
from clsuite.data.batch import gather
from clsuite.errors import UserError
from clsuite.peft import DomainAutoencoder, RoutedExperts, nearest_domain
from clsuite.scenarios import Scenario
from clsuite_plugins.moe_adapters import MoEAdapters

SMALL: dict[str, Any] = {"experts": 5, "size": 4, "code": 8, "code_steps": 20}


@pytest.fixture
def make_clip(scenario: Scenario) -> MakeStream:
    """Makes a stream of digits for a random clip_nano."""
    return partial(clip_stream, scenario, **ZERO_SHOT)


def batch_of(learner: Any, scenario: Scenario, rows: Any) -> Any:
    batch = gather(scenario.table, scenario.labels, rows)
    return batch.with_images(learner.backbone.normalize(batch.images))


def plain_logits(learner: Any, scenario: Scenario, rows: Any) -> torch.Tensor:
    backbone = clip_stream(scenario).learner.backbone.eval()
    with torch.no_grad():
        features = backbone(backbone.normalize(torch.from_numpy(scenario.table.images[rows])))
        return ClassTexts(backbone, scenario.classes).logits(features, 6)


def test_gates_mix_two_experts_by_the_first_token() -> None:
    block = RoutedExperts(8, 5, 4, torch.Generator().manual_seed(0)).eval()
    block.add_router()
    with torch.no_grad():
        block.routers[0].normal_(generator=torch.Generator().manual_seed(1))
        for expert in block.experts:
            expert.up.weight.normal_(generator=torch.Generator().manual_seed(2))
    tokens = torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(3))
    gates = block.gates(tokens[:, 0])
    assert ((gates > 0).sum(dim=1) == 2).all()
    torch.testing.assert_close(gates.sum(dim=1), torch.ones(6))
    expected = torch.stack([sum(gates[i, e] * block.experts[e](tokens[i]) for e in range(5)) for i in range(6)])
    torch.testing.assert_close(block(tokens), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(block(tokens[2:4]), expected[2:4], rtol=1e-5, atol=1e-6)
    assert block.counts.sum() == 0
    block.train().noise = torch.Generator().manual_seed(4)
    block(tokens)
    assert block.counts.sum() == 12


def test_it_begins_as_the_zero_shot_model_and_strangers_stay_with_it(make_clip: MakeStream, scenario: Scenario) -> None:
    plugin = MoEAdapters(**SMALL, threshold=0.0)
    learner = make_clip(plugin).learner.eval()
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    learner.eval()
    rows = scenario.tasks[0].test
    expected, batch = plain_logits(learner, scenario, rows), batch_of(learner, scenario, rows)
    with torch.no_grad():
        torch.testing.assert_close(plugin.predict(learner, batch), expected, rtol=0, atol=0)
        torch.testing.assert_close(learner.head(learner.encode(batch)), expected[:, :2], rtol=1e-4, atol=1e-4)
        for part in learner.plugin_modules.parameters():
            part.add_(0.1 * torch.randn(part.shape, generator=torch.Generator().manual_seed(part.numel())))
        assert (learner.head(learner.encode(batch)) - expected[:, :2]).abs().max() > 1e-2
        torch.testing.assert_close(plugin.predict(learner, batch), expected, rtol=0, atol=0)


@pytest.mark.slow
def test_the_most_used_experts_are_frozen_and_images_are_routed_one_by_one(
    make_clip: MakeStream, scenario: Scenario, tmp_path: Path
) -> None:
    plugin = MoEAdapters(**SMALL)
    stream = make_clip(plugin)
    learner, frozen = stream.learner, list[dict[str, torch.Tensor]]()
    end = learner.end_task

    def look(task: Any) -> None:
        end(task)
        kept = [(b, e) for b, numbers in enumerate(plugin._frozen) for e in numbers]
        blocks = [*plugin.image.blocks, *plugin.text.blocks]
        frozen.append(
            {f"{b} {e} {n}": v.detach().clone() for b, e in kept for n, v in blocks[b].experts[e].named_parameters()}
        )

    learner.end_task = look  # type: ignore[method-assign]
    stream.run()
    assert all(len(numbers) >= 2 for numbers in plugin._frozen)
    for before, after in pairwise(frozen):
        assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any(value.abs().sum() > 0 for name, value in frozen[0].items() if "up.weight" in name)
    learner.eval()
    rows = np.concatenate([task.test[:4] for task in scenario.tasks])
    with torch.no_grad():
        together = plugin.predict(learner, batch_of(learner, scenario, rows))
        alone = torch.cat([plugin.predict(learner, batch_of(learner, scenario, rows[i : i + 1])) for i in range(12)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert together.shape == (12, 6)
    assert_resumes_as(stream, lambda **more: make_clip(MoEAdapters(**SMALL), **more), tmp_path)


def test_one_router_for_all_tasks_freezes_nothing(make_clip: MakeStream) -> None:
    plugin = MoEAdapters(experts=2, size=4, router="shared")
    stream = make_clip(plugin, loss="global")
    stream.run()
    assert plugin.stored_bytes() == {
        "modules": 4 * sum(v.numel() for v in stream.learner.plugin_modules.parameters()) + 64
    }
    assert all(len(block.routers) == 1 for block in plugin.image.blocks)
    assert all(value.requires_grad for block in plugin.text.blocks for value in block.experts.parameters())


def test_an_autoencoder_knows_its_own_features() -> None:
    generator = torch.Generator().manual_seed(0)
    own, other = (0.3 * torch.randn(40, 8, generator=generator) + shift for shift in (-2.0, 2.0))
    known = []
    for features in (own, other):
        known.append(DomainAutoencoder(8, 2, generator))
        assert known[-1].fit(features, 200, 16, 0.01, generator) == 3200
    assert nearest_domain(known, torch.cat([own, other]), 1e9).tolist() == [0] * 40 + [1] * 40
    assert nearest_domain(known[:1], other, 3.0).tolist() == [-1] * 40
    assert not any(value.requires_grad for value in known[0].parameters())


def test_what_it_cannot_do_is_refused(make_clip: MakeStream, scenario: Scenario) -> None:
    with pytest.raises(UserError, match="zero_shot"):
        make_clip(MoEAdapters(), head="linear").learner.start(scenario)
    with pytest.raises(UserError, match="experts"):
        MoEAdapters(experts=1)


@pytest.mark.slow
def test_images_that_were_not_trained_on_are_no_strangers() -> None:
    """A hundred features are learned by heart, so that the usual error is that on the held-out part."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(20, 64, generator=generator)
    features = torch.randn(200, 20, generator=generator) @ mix
    others = torch.randn(200, 20, generator=generator) @ mix
    shares = {}
    for held_out in (0.0, 0.2):
        one = DomainAutoencoder(64, 32, torch.Generator().manual_seed(1))
        one.fit(features, 300, 64, 0.01, torch.Generator().manual_seed(2), held_out)
        shares[held_out] = float((nearest_domain([one], others, 3.0) < 0).float().mean())
        assert (nearest_domain([one], 4 * torch.randn(200, 64, generator=generator), 3.0) < 0).float().mean() > 0.9
    assert shares[0.2] < 0.1 < shares[0.0]
