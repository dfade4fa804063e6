"""ACIL, G-ACIL, DS-AL, Fly-CL, RanDumb and KLDA against scikit-learn, numpy, and `ranpac` and `lda`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from clsuite.errors import UserError
from clsuite.scenarios import Scenario
from clsuite_plugins.acil import ACIL
from clsuite_plugins.ds_al import DSAL
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.fly_cl import FlyCL, cross_validated_ridge
from clsuite_plugins.g_acil import GACIL
from clsuite_plugins.klda import KLDA
from clsuite_plugins.lda import LDA
from clsuite_plugins.randumb import RanDumb
from clsuite_plugins.ranpac import RanPAC


@pytest.fixture
def learner(make_stream: Any, scenario: Scenario) -> Any:
    learner = make_stream(Finetune()).learner
    learner.start(scenario)
    return learner


def learned(plugin: Any, learner: Any, scenario: Scenario, order: tuple[int, ...] = (0, 1, 2)) -> Any:
    plugin.on_stream_start(learner, scenario)
    for number in order:
        plugin.on_task_end(learner, scenario.tasks[number])
    return plugin


def images_of(learner: Any, scenario: Scenario) -> tuple[torch.Tensor, np.ndarray, torch.Tensor]:
    """Features and labels of all training images, and the features of all test images."""
    train = np.concatenate([task.train for task in scenario.tasks])
    test = np.concatenate([task.test for task in scenario.tasks])
    return learner.features_of(train), scenario.labels[train], learner.features_of(test)


def mixed(scenario: Scenario) -> Scenario:
    """A stream in which every class is in several tasks, one of them rare."""
    rows = np.concatenate([task.train for task in scenario.tasks])
    rows = np.concatenate([rows[scenario.labels[rows] != 0], rows[scenario.labels[rows] == 0][:3]])
    rows = np.random.default_rng(0).permutation(rows)
    parts = np.array_split(rows, 3)
    tasks = tuple(dataclasses.replace(task, train=own) for task, own in zip(scenario.tasks, parts, strict=True))
    return dataclasses.replace(scenario, tasks=tasks)


@pytest.mark.parametrize("solver", ["recursive", "sums"])
def test_acil_is_ranpac_at_one_ridge(solver: Any, learner: Any, scenario: Scenario) -> None:
    ranpac = learned(RanPAC(projection=150, ridge=10.0), learner, scenario)
    expected = ranpac._statistic.ridge_regression(10.0)
    for batch, order in ((256, (0, 1, 2)), (13, (2, 0, 1))):
        acil = ACIL(projection=150, ridge=10.0, solver=solver, batch=batch, layer="normal")
        learned(acil, learner, scenario, order)
        torch.testing.assert_close(acil._statistic.ridge_regression(10.0), expected, rtol=0, atol=1e-8)
        test = images_of(learner, scenario)[2]
        np.testing.assert_array_equal(acil.scores(test, 6).argmax(dim=1), ranpac.scores(test, 6).argmax(dim=1))


def test_acil_s_layer_is_that_of_linear_layers(learner: Any, scenario: Scenario) -> None:
    matrix = learned(ACIL(projection=500), learner, scenario, ())._project.matrix
    bound = learner.backbone.width**-0.5
    assert matrix.abs().max() <= bound
    assert matrix.std() == pytest.approx(bound / 3**0.5, rel=0.02)


@pytest.mark.parametrize("weights", ["images", "classes"])
def test_g_acil_is_the_regression_of_all_images_where_classes_come_back(
    weights: Any, learner: Any, scenario: Scenario
) -> None:
    stream = mixed(scenario)
    plugin = learned(GACIL(projection=80, ridge=0.5, solver="sums", weights=weights), learner, stream)
    features, labels, test = images_of(learner, stream)
    numbers = np.bincount(labels)
    shares = 1 / numbers / np.mean(1 / numbers)
    oracle = Ridge(alpha=0.5, fit_intercept=False, solver="cholesky")
    oracle.fit(
        plugin._project(features).double().numpy(), np.eye(6)[labels],
        sample_weight=shares[labels] if weights == "classes" else None,
    )  # fmt: skip
    expected = oracle.predict(plugin._project(test).double().numpy())
    np.testing.assert_allclose(plugin.scores(test, 6).numpy(), expected, atol=1e-4)
    if weights == "images":
        recursive = learned(GACIL(projection=80, ridge=0.5, batch=17), learner, stream)
        solutions = [one._statistic.ridge_regression(0.5) for one in (recursive, plugin)]
        torch.testing.assert_close(*solutions, rtol=0, atol=1e-8)


def test_where_each_class_comes_once_g_acil_is_acil(learner: Any, scenario: Scenario) -> None:
    pair = [learned(one(projection=50), learner, scenario)._classifier for one in (ACIL, GACIL)]
    assert torch.equal(*pair)


def test_acil_and_ds_al_say_which_streams_they_cannot_learn() -> None:
    for method in (ACIL, DSAL):
        assert {"blurry", "domain_incremental", "power_law"} <= set(method.traits.unsupported_scenarios)
    assert not GACIL.traits.unsupported_scenarios


@pytest.mark.parametrize("solver", ["recursive", "sums"])
def test_ds_al_s_second_stream_fits_what_the_first_one_leaves_of_new_classes(
    solver: Any, learner: Any, scenario: Scenario
) -> None:
    given = {"projection": 60, "ridge": 0.5, "solver": solver}
    plugin = learned(DSAL(compensation_ridge=0.2, ratio=0.7, **given), learner, scenario)
    matrix = plugin._project.matrix.double()
    inputs, seconds, targets, residuals = [], [], [], []
    for task in scenario.tasks:
        layer, labels = learner.features_of(task.train).double() @ matrix, scenario.labels[task.train]
        inputs.append(layer.relu().numpy())
        targets.append(np.eye(6)[labels])
        main = Ridge(alpha=0.5, fit_intercept=False).fit(np.concatenate(inputs), np.concatenate(targets))
        seconds.append(layer.tanh().numpy())
        left = targets[-1] - main.predict(inputs[-1])
        left[:, [label for label in range(6) if label not in task.classes]] = 0
        residuals.append(left)
    second = Ridge(alpha=0.2, fit_intercept=False).fit(np.concatenate(seconds), np.concatenate(residuals))
    test = images_of(learner, scenario)[2]
    layer = test.double() @ matrix
    expected = main.predict(layer.relu().numpy()) + 0.7 * second.predict(layer.tanh().numpy())
    np.testing.assert_allclose(plugin.scores(test, 6).numpy(), expected, atol=1e-4)
    plain, without = (learned(one, learner, scenario) for one in (ACIL(**given), DSAL(ratio=0.0, **given)))
    assert torch.equal(plain.scores(test, 6), without.scores(test, 6))


def test_fly_cl_connects_a_few_features_and_keeps_the_largest_values(learner: Any, scenario: Scenario) -> None:
    plugin = learned(FlyCL(projection=200, connections=20, kept=0.3), learner, scenario)
    assert ((plugin._project.matrix != 0).sum(dim=0) == 20).all()
    features = images_of(learner, scenario)[2]
    codes, plain = plugin._project(features), features @ plugin._project.matrix
    assert ((codes != 0).sum(dim=1) == 60).all()
    assert torch.equal(codes[codes != 0], plain[codes != 0])
    assert (codes.masked_fill(codes == 0, 1e9).amin(dim=1) >= plain.masked_fill(codes != 0, -1e9).amax(dim=1)).all()
    dense = learned(FlyCL(projection=2000, connections=10_000, kept=1.0), learner, scenario, ())._project
    assert (dense.matrix != 0).all()  # then its weights are drawn as those of `ranpac`
    assert dense.matrix.std() == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("width", [15, 80])
def test_fly_cl_s_ridge_has_the_least_generalized_cross_validation_error(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features, noise = torch.randn(40, width, generator=generator), torch.randn(40, 3, generator=generator)
    targets = features @ torch.randn(width, 3, generator=generator) * 0.3 + noise
    ridges, errors = [10.0**exponent for exponent in range(-2, 5)], []
    rows, wanted = features.double().numpy(), targets.double().numpy()
    for ridge in ridges:
        fit = rows @ np.linalg.solve(rows.T @ rows + ridge * np.eye(width), rows.T)
        errors.append(40 * np.square(wanted - fit @ wanted).sum() / np.trace(np.eye(40) - fit) ** 2)
    assert 0 < int(np.argmin(errors)) < len(ridges) - 1
    assert cross_validated_ridge(features, targets, ridges) == ridges[int(np.argmin(errors))]


def test_randumb_with_a_rotation_in_place_of_the_fourier_features_is_lda(
    learner: Any, scenario: Scenario, monkeypatch: Any
) -> None:
    width = learner.backbone.width
    rotation = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0)))[0]
    monkeypatch.setattr("clsuite.learner.analytic.FourierFeatures.__call__", lambda self, rows: rows @ rotation)
    plugin = learned(RanDumb(projection=width), learner, scenario)
    lda, test = learned(LDA(), learner, scenario), images_of(learner, scenario)[2]
    expected = lda.scores(test, 6)
    torch.testing.assert_close(plugin.scores(test, 6), expected, rtol=1e-3, atol=1e-2)


def test_randumb_s_mirrored_images_count_too(learner: Any, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clsuite_plugins.randumb.AT_ONCE", 3)
    plain, flipped = (learned(RanDumb(projection=50, flip=flip), learner, scenario) for flip in (False, True))
    assert torch.equal(flipped._numbers, 2 * plain._numbers)
    rows = scenario.tasks[0].train
    half = flipped.training_features(learner, rows)[0][len(rows) :]
    pixels = learner.backbone.normalize(torch.from_numpy(scenario.table.images[rows][..., ::-1].copy()))
    learner.backbone.eval()
    with torch.no_grad():
        torch.testing.assert_close(half, learner.backbone(pixels), rtol=1e-4, atol=1e-4)


def test_klda_is_the_mahalanobis_distance_by_the_pseudo_inverse_of_the_summed_scatter(
    learner: Any, scenario: Scenario
) -> None:
    plugin = learned(KLDA(projection=70, members=2), learner, scenario)
    features, labels, test = images_of(learner, scenario)
    softmaxes = []
    for fourier, _ in plugin._members:
        rows, asked = fourier(features).double().numpy(), fourier(test).double().numpy()
        means = np.stack([rows[labels == label].mean(axis=0) for label in range(6)])
        precision = np.linalg.pinv((rows - means[labels]).T @ (rows - means[labels]), hermitian=True)
        away = asked[:, None] - means[None]
        distances = np.einsum("bcd,de,bce->bc", away, precision, away)
        softmaxes.append(torch.from_numpy(-distances).softmax(dim=1))
    expected = torch.stack(softmaxes).mean(dim=0)
    torch.testing.assert_close(plugin.scores(test, 6).exp().double(), expected, rtol=1e-3, atol=1e-4)


def test_klda_does_not_depend_on_the_parts_in_which_classes_come(learner: Any, scenario: Scenario) -> None:
    stream = mixed(scenario)
    whole = np.concatenate([task.train for task in stream.tasks])
    at_once = dataclasses.replace(stream, tasks=(dataclasses.replace(stream.tasks[0], train=whole),))
    test = images_of(learner, scenario)[2]
    whole_plugin = learned(KLDA(projection=30, gamma=0.01), learner, at_once, (0,))
    plugin = learned(KLDA(projection=30, gamma=0.01), learner, stream)
    torch.testing.assert_close(plugin.scores(test, 6), whole_plugin.scores(test, 6), rtol=1e-3, atol=1e-4)


SMALL = [
    lambda: ACIL(projection=150), lambda: DSAL(projection=150), lambda: RanDumb(projection=300),
    lambda: FlyCL(projection=300, least_ridge=0), lambda: KLDA(projection=20, members=2),
    lambda: GACIL(projection=150, solver="sums", weights="classes"),
]  # fmt: skip


def test_all_learn_the_tasks_and_remember_the_first(learner: Any, scenario: Scenario) -> None:
    test = images_of(learner, scenario)[2]
    truth = np.concatenate([scenario.labels[task.test] for task in scenario.tasks])
    for make in SMALL:
        plugin = learned(make(), learner, scenario)
        assert np.mean(plugin.scores(test, 6).argmax(dim=1).numpy() == truth) > 0.85, plugin
        assert plugin.stored_bytes()["statistics"] > 0


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        (ACIL, {"ridge": 0.0}, "acil: ridge is 0.0, but must be above 0"),
        (GACIL, {"batch": 0}, "g_acil: batch is 0, but must be at least 1"),
        (GACIL, {"weights": "classes"}, "g_acil: weights of classes change with each image, and need solver 'sums'"),
        (DSAL, {"ratio": -1.0}, "ds_al: ratio is -1.0, but must be at least 0"),
        (FlyCL, {"kept": 0.0}, "fly_cl: kept is 0.0, but must be above 0 and at most 1"),
        (FlyCL, {"least_ridge": 10}, "fly_cl: least_ridge is 10, but must be at most largest_ridge, 9"),
        (RanDumb, {"gamma": -1.0}, "randumb: gamma is -1.0, but must be above 0"),
        (KLDA, {"members": 0}, "klda: members is 0, but must be at least 1"),
        (RanPAC, {"ridge": 0.0}, "ranpac: ridge is 0.0, but must be above 0"),
    ],
)
def test_arguments_that_cannot_be(method: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        method(**arguments)
