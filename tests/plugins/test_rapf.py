"""RAPF: hard pairs, drawn features, the fusion of two maps, and whole streams."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_streams import MakeStream, assert_resumes_as, clip_stream
from torch.nn import functional as F

from clsuite.data.batch import gather
from clsuite.learner.step import Step
from clsuite.scenarios import Scenario
from clsuite_plugins.rapf import RAPF, fused


@pytest.fixture
def make_clip(scenario: Scenario) -> MakeStream:
    """Makes a stream of digits for a random clip_nano."""
    return partial(clip_stream, scenario)


def test_the_fusion_of_a_map_with_itself_is_that_map_and_a_bias_of_one_takes_the_new_one() -> None:
    old, new = (torch.randn(6, 6, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    torch.testing.assert_close(fused(old, old, 0.3), old, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fused(old, new, 1.0), new, rtol=1e-5, atol=1e-6)
    left, singular, right = np.linalg.svd(old.double().numpy())
    before, after = np.diag(singular) @ right, left.T @ new.double().numpy()
    share = np.minimum(np.abs(after - before) / np.abs(after - before).max() + 0.3, 1)
    expected = left @ (after * share + before * (1 - share))
    torch.testing.assert_close(fused(old, new, 0.3), torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-6)


def begun(make_clip: MakeStream, scenario: Scenario, plugin: RAPF) -> Any:
    """A learner at the start of its second task, with what it knows of the first."""
    learner = make_clip(plugin).learner
    learner.start(scenario)
    learner.begin_task(scenario.tasks[0])
    learner.end_task(scenario.tasks[0])
    learner.begin_task(scenario.tasks[1])
    return learner


def test_hard_pairs_are_those_of_near_texts(make_clip: MakeStream, scenario: Scenario) -> None:
    learner = begun(make_clip, scenario, plugin := RAPF(radius=0.6))
    vectors = torch.zeros(6, 32)
    vectors[:4, :2] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.96, 0.28], [-1.0, 0.0]])
    plugin._texts.features = lambda classes: vectors[:classes]  # type: ignore[method-assign]
    plugin.on_task_start(learner, scenario.tasks[1])
    assert plugin._pairs == [(0, 2)]


def test_drawn_features_have_the_mean_and_the_covariance_of_the_class(
    make_clip: MakeStream, scenario: Scenario
) -> None:
    learner = begun(make_clip, scenario, plugin := RAPF(ridge=1e-3))
    rows = scenario.tasks[0].train
    own = learner.features_of(rows)[learner.labels_of(rows) == 1].double()
    drawn = plugin._drawn(1, 200_000, torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(drawn.mean(dim=0), own.mean(dim=0), rtol=0, atol=0.02)
    torch.testing.assert_close(drawn.T.cov(), own.T.cov() + 1e-3 * torch.eye(32), rtol=0, atol=0.05)


def test_the_loss_is_that_of_the_paper(make_clip: MakeStream, scenario: Scenario) -> None:
    """Cross-entropy over all seen classes of the batch and the drawn features, and the hinge of all pairs."""
    learner = begun(make_clip, scenario, plugin := RAPF(radius=2.0, draws=3, hinge=0.7))
    rows = scenario.tasks[1].train[:5]
    batch = gather(scenario.table, scenario.labels, rows)
    features = learner.features_of(rows)
    loss = plugin.classification(learner, Step(batch, features, torch.zeros(5, 4)))
    generator = learner.generator("rapf draws", 0)
    order = torch.randperm(2, generator=learner.generator("rapf order", 0)).tolist()
    drawn = [plugin._drawn(label, 3, generator) for label in order]
    weight, texts = plugin.map.weight, plugin._texts.features(4)
    every = F.normalize(torch.cat([features, *drawn]) @ weight.T, dim=1)
    labels = torch.cat([batch.labels, torch.tensor(order).repeat_interleave(3)])
    expected = F.cross_entropy(learner.backbone.logit_scale * every @ texts.T, labels)
    terms = []
    for old in (0, 1):
        for new in (2, 3):
            z = F.normalize(plugin._drawn(old, 6, generator) @ weight.T, dim=1)
            terms.append((0.1 - z @ texts[old] + z @ texts[new]).relu())
    torch.testing.assert_close(loss, expected + 0.7 * torch.cat(terms).mean(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_learns_on_kept_features_and_resumes(make_clip: MakeStream, scenario: Scenario, tmp_path: Path) -> None:
    whole = make_clip(RAPF(), epochs=2)
    before = {name: value.detach().clone() for name, value in whole.learner.backbone.named_parameters()}
    whole.run()
    assert whole.learner.frozen
    assert all(torch.equal(value, before[name]) for name, value in whole.learner.backbone.named_parameters())
    assert whole.learner.gradient_samples == 2 * len(scenario.tasks[-1].train)  # of the last task, and no drawn ones
    assert_resumes_as(whole, lambda **more: make_clip(RAPF(), epochs=2, **more), tmp_path)


def test_images_that_come_again_count_once(make_clip: MakeStream, scenario: Scenario) -> None:
    learner = begun(make_clip, scenario, plugin := RAPF())
    known = plugin._statistics.counts.tolist()
    learner.begin_task(scenario.tasks[0])
    learner.end_task(scenario.tasks[0])
    assert plugin._statistics.counts.tolist() == known
