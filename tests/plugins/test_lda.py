"""LDA against scikit-learn."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.scenarios import Scenario
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.first_session import FirstSession
from clsuite_plugins.lda import LDA, NEVER, oas_shrinkage


def parts_of(stream: Any, scenario: Scenario) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    train = np.concatenate([task.train for task in scenario.tasks])
    test = np.concatenate([task.test for task in scenario.tasks])
    features = [stream.learner.features_of(rows).double().numpy() for rows in (train, test)]
    return features[0], scenario.labels[train], features[1]


def batch_of(scenario: Scenario) -> Batch:
    rows = torch.from_numpy(np.concatenate([task.test for task in scenario.tasks]))
    return Batch(None, rows, rows, rows < 0)


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("shrinkage", [0.01, 0.3])
def test_it_is_scikit_learns(make_stream: Any, scenario: Scenario, shrinkage: float, adapted: bool) -> None:
    plugin = LDA(shrinkage=shrinkage, target="variance", priors="counts")
    stream = make_stream(*([FirstSession(size=4)] if adapted else []), plugin)
    stream.run()
    features, labels, test = parts_of(stream, scenario)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(features, labels)
    weights, scores = plugin._weights[:6].numpy(), plugin.predict(stream.learner, batch_of(scenario)).numpy()
    expected = oracle.decision_function(test)
    np.testing.assert_allclose(weights - weights[0], oracle.coef_ - oracle.coef_[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scores - scores[:, :1], expected - expected[:, :1], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(stream.matrix.class_incremental[-1], oracle.predict(test))
    assert [task.steps > 0 for task in stream.tasks] == [adapted, False, False]


def test_default_adds_the_identity_and_ignores_how_many_images_a_class_has(
    make_stream: Any, scenario: Scenario
) -> None:
    plugin = LDA()
    stream = make_stream(plugin)
    stream.run()
    features, labels, test = parts_of(stream, scenario)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(6)])
    away = features - means[labels]
    precision = np.linalg.inv((1 - 1e-4) * away.T @ away / len(away) + 1e-4 * np.eye(features.shape[1]))
    scores = test @ precision @ means.T - np.einsum("cd,de,ce->c", means, precision, means) / 2
    assert (scores.argmax(axis=1) == stream.matrix.class_incremental[-1]).mean() > 0.99
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.85


def test_oas_is_scikit_learns(make_stream: Any, scenario: Scenario) -> None:
    plugin = LDA(shrinkage=None)
    stream = make_stream(plugin)
    stream.run()
    features, labels, _ = parts_of(stream, scenario)
    away = features - np.stack([features[labels == label].mean(axis=0) for label in range(6)])[labels]
    oracle = OAS(assume_centered=True).fit(away)
    np.testing.assert_allclose(plugin.covariance().numpy(), oracle.covariance_, rtol=1e-4, atol=1e-6)
    assert 0 < oracle.shrinkage_ < 1
    assert oas_shrinkage(torch.eye(4).double(), 10) == 1.0


def test_order_of_tasks_changes_nothing(make_stream: Any, scenario: Scenario) -> None:
    ends = []
    for order in ((0, 1, 2), (2, 0, 1)):
        plugin, learner = LDA(), make_stream(Finetune()).learner
        learner.start(scenario)
        plugin.on_stream_start(learner, scenario)
        for number in order:
            plugin.on_task_end(learner, dataclasses.replace(scenario.tasks[number]))
        ends.append(plugin)
    torch.testing.assert_close(ends[0].covariance(), ends[1].covariance(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ends[0]._sums, ends[1]._sums, rtol=1e-9, atol=1e-9)


def test_a_class_without_images_is_never_answered(make_stream: Any, scenario: Scenario) -> None:
    plugin = LDA()
    stream = make_stream(plugin)
    stream.run()
    assert (plugin._biases[6:] == NEVER).all()
    assert (plugin._biases[:6].abs() < 1e9).all()


@pytest.mark.parametrize("shrinkage", [0.0, -0.1, 1.5])
def test_shrinkage_that_cannot_be(shrinkage: float) -> None:
    with pytest.raises(UserError, match=r"lda: shrinkage is .* but must be above 0 and at most 1, or null"):
        LDA(shrinkage=shrinkage)
