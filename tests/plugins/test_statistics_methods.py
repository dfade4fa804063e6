"""RanPAC and FeCAM against scikit-learn and numpy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from clsuite.scenarios import Scenario
from clsuite_plugins.fecam import FeCAM
from clsuite_plugins.ncm import NCM
from clsuite_plugins.ranpac import RIDGES, RanPAC, choose_ridge


def train_set(stream: Any, scenario: Scenario) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    train = np.concatenate([task.train for task in scenario.tasks])
    test = np.concatenate([task.test for task in scenario.tasks])
    return stream.learner.features_of(train).numpy(), scenario.labels[train], stream.learner.features_of(test).numpy()


def test_ranpac_is_ridge_regression_on_projected_features(
    make_stream: Any, scenario: Scenario, monkeypatch: Any
) -> None:
    monkeypatch.setattr("clsuite_plugins.ranpac.choose_ridge", lambda *arguments: 100.0)
    plugin = RanPAC(projection=150)
    stream = make_stream(plugin)
    stream.run()
    features, labels, test = train_set(stream, scenario)
    project = plugin._random.numpy()
    oracle = Ridge(alpha=100.0, fit_intercept=False).fit(np.maximum(features @ project, 0), np.eye(10)[labels])
    expected = oracle.predict(np.maximum(test @ project, 0))[:, :6].argmax(axis=1)
    assert np.mean(expected == stream.matrix.class_incremental[-1]) > 0.99


def test_ranpac_does_not_depend_on_the_order_of_tasks(make_stream: Any, scenario: Scenario) -> None:
    swapped = tuple(dataclasses.replace(scenario.tasks[i], index=n) for n, i in enumerate((0, 2, 1)))
    grams = []
    for tasks in (scenario.tasks, swapped):
        plugin, stream = RanPAC(projection=100), make_stream(Finished())
        learner = stream.learner
        learner.plugins = (plugin,)
        learner.start(scenario)
        for task in tasks:
            plugin.on_task_end(learner, task)
        grams.append((plugin._gram, plugin._sums))
    torch.testing.assert_close(grams[0][0], grams[1][0])
    torch.testing.assert_close(grams[0][1], grams[1][1])


class Finished(NCM):
    """Stands in until the plugin under test takes its place."""


@pytest.mark.parametrize("width", [20, 40, 80])
def test_the_ridge_is_the_best_on_held_out_samples(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    projected, noise = torch.randn(60, width, generator=generator), torch.randn(60, 3, generator=generator)
    targets = projected @ torch.randn(width, 3, generator=generator) * 0.1 + 2 * noise
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    valid, train = order[:12].numpy(), order[12:].numpy()
    errors = []
    for ridge in RIDGES:
        model = Ridge(alpha=ridge, fit_intercept=False, solver="cholesky").fit(projected[train], targets[train])
        errors.append(float(((model.predict(projected[valid]) - targets[valid].numpy()) ** 2).mean()))
    assert choose_ridge(projected, targets, torch.Generator().manual_seed(1)) == RIDGES[int(np.argmin(errors))]


def test_of_equal_ridges_the_largest_is_taken() -> None:
    assert choose_ridge(torch.zeros(10, 4), torch.ones(10, 2), torch.Generator()) == max(RIDGES)


def test_fecam_is_the_mahalanobis_distance_with_shrunk_correlations(make_stream: Any, scenario: Scenario) -> None:
    stream = make_stream(FeCAM())
    stream.run()
    features, labels, test = (np.asarray(part, dtype=np.float64) for part in train_set(stream, scenario))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    test /= np.linalg.norm(test, axis=1, keepdims=True)
    distances = []
    for label in range(6):
        own = features[labels == label]
        covariance = np.cov(own.T)
        covariance += np.diagonal(covariance).mean() * np.eye(len(covariance))
        deviation = np.sqrt(np.diagonal(covariance))
        away = test - own.mean(axis=0)
        distances.append((away @ np.linalg.inv(covariance / np.outer(deviation, deviation)) * away).sum(axis=1))
    expected = np.argmin(distances, axis=0)
    assert np.mean(expected == stream.matrix.class_incremental[-1]) > 0.99


def test_fecam_finds_a_class_of_a_single_image(make_stream: Any, scenario: Scenario) -> None:
    first = scenario.tasks[0]
    rare = first.classes[0]
    train = first.train[scenario.labels[first.train] != rare]
    train = np.append(train, first.train[scenario.labels[first.train] == rare][:1])
    tasks = (dataclasses.replace(first, train=train), *scenario.tasks[1:])
    stream = make_stream(FeCAM(), on=dataclasses.replace(scenario, tasks=tasks))
    stream.run()
    own = stream.matrix.labels == rare
    assert np.mean(stream.matrix.class_incremental[-1][own] == rare) > 0.2


def test_both_beat_chance_by_far_and_train_nothing(make_stream: Any) -> None:
    for plugin in (RanPAC(projection=500), FeCAM()):
        stream = make_stream(plugin)
        stream.run()
        assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.85
        assert not any(parameter.requires_grad for parameter in stream.learner.parameters())
        assert stream.tasks[-1].steps == 0
