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
from clsuite.learner.analytic_plugin import NEVER
from clsuite.learner.discriminant import oas_shrinkage
from clsuite.scenarios import Scenario
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.first_session import FirstSession
from clsuite_plugins.lda import LDA


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
    weights, scores = plugin._lda._weights[:6].numpy(), plugin.predict(stream.learner, batch_of(scenario)).numpy()
    expected = oracle.decision_function(test)
    np.testing.assert_allclose(weights - weights[0], oracle.coef_ - oracle.coef_[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scores - scores[:, :1], expected - expected[:, :1], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(stream.matrix.class_incremental[-1], oracle.predict(test))
    assert [task.steps > 0 for task in stream.tasks] == [adapted, False, False]


def test_the_paper_s_shrinkage_adds_the_identity_and_ignores_how_many_images_a_class_has(
    make_stream: Any, scenario: Scenario
) -> None:
    plugin = LDA(shrinkage=1e-4)
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
    plugin = LDA()
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
    torch.testing.assert_close(ends[0]._lda.sums.sums, ends[1]._lda.sums.sums, rtol=1e-9, atol=1e-9)


def test_a_class_without_images_is_never_answered(make_stream: Any, scenario: Scenario) -> None:
    plugin = LDA()
    stream = make_stream(plugin)
    stream.run()
    assert (plugin._lda._biases[6:] == NEVER).all()
    assert (plugin._lda._biases[:6].abs() < 1e9).all()


@pytest.mark.parametrize("shrinkage", [0.0, -0.1, 1.5])
def test_shrinkage_that_cannot_be(shrinkage: float) -> None:
    with pytest.raises(UserError, match=r"lda: shrinkage is .* but must be above 0 and at most 1, or null"):
        LDA(shrinkage=shrinkage)


def test_it_is_first_session_adaptations_classifier(make_stream: Any, scenario: Scenario) -> None:
    """Panos et al.: the covariance of all features (with one degree of freedom less) plus the identity."""
    plugin = LDA(shrinkage=1.0, target="added", covariance="total")
    stream = make_stream(plugin)
    stream.run()
    features, labels, test = parts_of(stream, scenario)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(6)])
    covariance = np.cov(features.T) + np.eye(features.shape[1])
    np.testing.assert_allclose(plugin.covariance().numpy(), covariance, rtol=1e-9, atol=1e-9)
    coefficients = np.linalg.solve(covariance, means.T)
    expected = test @ coefficients - (coefficients * means.T).sum(axis=0) / 2
    scores = plugin.predict(stream.learner, batch_of(scenario)).numpy()
    np.testing.assert_allclose(scores - scores[:, :1], expected - expected[:, :1], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(stream.matrix.class_incremental[-1], expected.argmax(axis=1))


def few_images(scenario: Scenario, each: int) -> Scenario:
    rows = [
        np.concatenate([task.train[scenario.labels[task.train] == label][:each] for label in task.classes])
        for task in scenario.tasks
    ]
    tasks = [dataclasses.replace(task, train=own) for task, own in zip(scenario.tasks, rows, strict=True)]
    return dataclasses.replace(scenario, tasks=tuple(tasks))


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize(
    "plugin",
    [
        LDA,
        lambda: LDA(shrinkage=0.1, target="variance"),
        lambda: LDA(shrinkage=1.0, target="added", covariance="total"),
    ],
    ids=["oas", "variance", "total"],
)
def test_classes_that_do_not_vary_are_told_apart_by_their_means(
    plugin: Any, same: bool, make_stream: Any, scenario: Scenario
) -> None:
    few = few_images(scenario, 3 if same else 1)
    if same:  # three equal images of each class
        images = few.table.images.copy()
        for task in few.tasks:
            for label in task.classes:
                own = task.train[few.labels[task.train] == label]
                images[own] = images[own[0]]
        few = dataclasses.replace(few, table=dataclasses.replace(few.table, images=images))
    answers = []
    for one in (plugin(), LDA(shrinkage=1.0)):
        stream = make_stream(one, on=few)
        stream.run()
        answers.append(stream.matrix.class_incremental[-1])
        assert one.predict(stream.learner, batch_of(few)).isfinite().all()
    if plugin is LDA or plugin().target == "variance":
        np.testing.assert_array_equal(*answers)  # the nearest class mean


def test_default_does_not_break_down_with_few_images_a_class(make_stream: Any, scenario: Scenario) -> None:
    """Three a class in a space of 192: as the nearest class mean at least, where the paper's 1e-4 breaks down."""
    few = few_images(scenario, 3)
    finals = []
    for shrinkage in (None, 1e-4, 1.0):
        stream = make_stream(LDA(shrinkage=shrinkage), on=few)
        stream.run()
        finals.append(stream.matrix.counts().of("class_incremental").accuracy[-1].mean())
    assert LDA().shrinkage is None
    assert finals[0] >= max(finals[1:]) - 0.02, finals


def test_what_is_added_must_be_said() -> None:
    with pytest.raises(UserError, match="lda: target is 'added', so that shrinkage must say how much"):
        LDA(target="added")


def test_the_first_task_s_covariance_is_that_of_oas_and_counts_with_its_images(
    make_stream: Any, scenario: Scenario
) -> None:
    """Hayes & Kanan: a base task by OAS, and then the running average of what comes, in numpy and scikit-learn."""
    plugin = LDA(shrinkage=1e-4, base=True)
    stream = make_stream(plugin)
    stream.run()
    scatters = []
    for task in scenario.tasks:
        rows, labels = stream.learner.features_of(task.train).double().numpy(), scenario.labels[task.train]
        means = {label: rows[labels == label].mean(axis=0) for label in task.classes}
        scatters.append(rows - np.stack([means[label] for label in labels]))
    base = OAS(assume_centered=True).fit(scatters[0]).covariance_ * len(scatters[0])
    within = base + sum(away.T @ away for away in scatters[1:])
    expected = (1 - 1e-4) * within / sum(map(len, scatters)) + 1e-4 * np.eye(len(base))
    np.testing.assert_allclose(plugin.covariance().numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("arguments", [{}, {"shrinkage": 0.1, "covariance": "total"}])
def test_a_base_task_that_cannot_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="lda: a base task needs a shrinkage"):
        LDA(base=True, **arguments)
