"""APER classifies by class means of plain and tuned features."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn.metrics.pairwise import cosine_similarity

from clsuite.scenarios import Scenario
from clsuite_plugins.aper import APER


def test_it_is_the_cosine_to_means_of_both_features(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(APER(size=4))
    plain = copy.deepcopy(stream.learner.backbone).eval()
    stream.run()
    learner = stream.learner

    def both(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            images = plain.normalize(learner.images_of(rows))
            return torch.cat([plain(images), learner.features_of(rows)], dim=1).double().numpy()

    train = np.concatenate([task.train for task in scenario.tasks])
    features, labels = both(train), scenario.labels[train]
    assert not np.allclose(features[:, : plain.width], features[:, plain.width :], atol=1e-3)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(6)])
    expected = cosine_similarity(both(stream.matrix.rows), means).argmax(axis=1)
    assert np.mean(expected == stream.matrix.class_incremental[-1]) > 0.99
    assert [task.steps > 0 for task in stream.tasks] == [True, False, False]
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.85


def test_the_module_rests_after_the_first_task(make_stream: Any) -> None:
    plugin = APER(size=4)
    stream = make_stream(plugin)
    seen: list[torch.Tensor] = []
    end = stream.learner.end_task

    def look(task: Any) -> None:
        end(task)
        seen.append(torch.cat([value.detach().flatten() for value in plugin.module.parameters()]).clone())

    stream.learner.end_task = look
    stream.run()
    assert seen[0].count_nonzero() > 0
    assert all(torch.equal(seen[0], later) for later in seen[1:])
    assert not any(parameter.requires_grad for parameter in stream.learner.parameters())
