"""RanPAC and FeCAM against scikit-learn and numpy."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from clsuite.data.batch import gather
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.errors import UserError
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite_plugins.aper import APER
from clsuite_plugins.fecam import FeCAM
from clsuite_plugins.lda import LDA
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
    project = plugin._project.matrix.numpy()
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
        grams.append((plugin.state_dict()["_statistic"]["products"], plugin.state_dict()["_statistic"]["sums"]))
    torch.testing.assert_close(grams[0][0], grams[1][0])
    torch.testing.assert_close(grams[0][1], grams[1][1])


class Finished(NCM):
    """Stands in until the plugin under test takes its place."""


@pytest.mark.slow
@pytest.mark.parametrize("ridge", [1.0, 1e-8])
def test_more_projections_than_images_are_borne_as_in_exact_arithmetic(
    ridge: float, make_stream: Any, monkeypatch: Any
) -> None:
    """One class a task and ten times as many projections as images; the dual problem in double precision is exact."""
    monkeypatch.setattr("clsuite_plugins.ranpac.choose_ridge", lambda *arguments: ridge)
    scenario = one_class_a_task(0, train_per_class=9)
    images = sum(len(task.train) for task in scenario.tasks)
    plugin = RanPAC(projection=10 * images)
    stream = make_stream(plugin, on=scenario)
    stream.run()
    features, labels, test = train_set(stream, scenario)
    project = plugin._project.matrix.numpy()
    known, asked = (np.maximum(part @ project, 0).astype(np.float64) for part in (features, test))
    kernel = known @ known.T + ridge * np.eye(images)
    expected = asked @ known.T @ np.linalg.solve(kernel, np.eye(10)[labels])
    assert np.mean(expected.argmax(axis=1) == stream.matrix.class_incremental[-1]) > 0.998
    exact = known.T @ np.linalg.solve(kernel, np.eye(10)[labels])
    assert np.linalg.norm(plugin._classifier.numpy() - exact) < 1e-3 * np.linalg.norm(exact)


def one_class_a_task(seed: int, train_per_class: int | None = None) -> Scenario:
    table = load_table(DatasetSpec(name="digits"), 32)
    return build_scenario(table, ScenarioSpec(tasks=10), seed=seed, train_per_class=train_per_class)


SEEDS = [2, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (0, 1))]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_ranpac_with_3000_projections_and_one_class_a_task_does_not_collapse(seed: int, make_stream: Any) -> None:
    stream = make_stream(RanPAC(projection=3000), on=one_class_a_task(seed))
    stream.learner.seed = seed
    stream.run()
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.99


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


def domains_of_digits() -> Scenario:
    """Three domains of the same four digits, each with images of its own, the later ones darker and shifted."""
    table = load_table(DatasetSpec(name="digits"), 32)
    whole = build_scenario(table, ScenarioSpec(tasks=2), seed=0, train_per_class=40)
    first = whole.first(1).tasks[0]
    images = table.images.copy()
    parts = [first.train[part::3] for part in range(3)]
    for domain, rows in enumerate(parts):
        images[rows] = np.roll(images[rows] // (domain + 1), 2 * domain, axis=-1)
    tasks = tuple(
        dataclasses.replace(first, index=n, train=rows, test=first.test[n::3]) for n, rows in enumerate(parts)
    )
    return Scenario("domain_incremental", dataclasses.replace(table, images=images), whole.labels, whole.classes, tasks)


def authors_distances(parts: list[tuple[np.ndarray, np.ndarray]], test: np.ndarray, label: int) -> np.ndarray:
    """Of the script for CORe50: means over all domains, (old + new) / 2 of the shrunk covariances."""
    own = [features[labels == label] for features, labels in parts]
    shrunk: np.ndarray | None = None
    for features in own:
        new = np.cov(features.T)
        new = new + np.diagonal(new).mean() * np.eye(len(new))
        shrunk = new if shrunk is None else (shrunk + new) / 2
    assert shrunk is not None
    deviation = np.sqrt(np.diagonal(shrunk))
    away = test - np.concatenate(own).mean(axis=0)
    return ((away @ np.linalg.pinv(shrunk / np.outer(deviation, deviation))) * away).sum(axis=1)


def unit(features: Any) -> np.ndarray:
    features = np.asarray(features, dtype=np.float64)
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True))


@pytest.mark.parametrize("rule", ["averaged", "pooled"])
def test_fecam_averages_covariances_domain_by_domain_as_its_authors_or_pools(rule: Any, make_stream: Any) -> None:
    scenario = domains_of_digits()
    plugin = FeCAM() if rule == "averaged" else FeCAM(domains="pooled")
    stream = make_stream(plugin, on=scenario)
    stream.run()
    parts = [(unit(stream.learner.features_of(t.train).numpy()), scenario.labels[t.train]) for t in scenario.tasks]
    if rule == "pooled":
        parts = [tuple(np.concatenate(kind) for kind in zip(*parts, strict=True))]  # type: ignore[list-item]
    test = unit(train_set(stream, scenario)[2])
    expected = np.argmin([authors_distances(parts, test, label) for label in range(5)], axis=0)
    np.testing.assert_array_equal(expected, stream.matrix.class_incremental[-1])


@pytest.mark.parametrize("gammas", [(1.0, 0.0), (10.0, 10.0)])
def test_fecam_with_a_common_covariance_is_the_papers(gammas: Any, make_stream: Any, scenario: Scenario) -> None:
    """The mean of the tasks' shrunk covariances by their numbers of classes, in a loop over the tasks."""
    stream = make_stream(plugin := FeCAM(*gammas, covariance="common"))
    stream.run()
    common, known, means = np.zeros(()), 0, []
    for task in scenario.tasks:
        features, labels = unit(stream.learner.features_of(task.train).numpy()), scenario.labels[task.train]
        new, classes = np.cov(features.T), len(task.classes)
        beside = new[~np.eye(len(new), dtype=bool)].mean()
        shrink = gammas[0] * np.diagonal(new).mean() * np.eye(len(new)) + gammas[1] * beside * (1 - np.eye(len(new)))
        ratio = known / (known + classes)
        common, known = ratio * common + (1 - ratio) * (new + shrink), known + classes
        means += [features[labels == label].mean(axis=0) for label in task.classes]
    away = unit(train_set(stream, scenario)[2])[None] - np.stack(means)[:, None]
    distances = ((away @ np.linalg.pinv(common)) * away).sum(axis=2)
    assert np.mean(distances.argmin(axis=0) == stream.matrix.class_incremental[-1]) > 0.99
    width = stream.learner.backbone.width
    assert plugin.stored_bytes() == {"statistics": 6 * (8 * width + 4) + 8 * width**2}


@pytest.mark.slow
def test_fecam_pools_a_class_that_a_blurry_stream_brings_in_parts(make_stream: Any) -> None:
    scenario = dataclasses.replace(domains_of_digits(), kind="blurry")
    answers = []
    for rule in ("averaged", "pooled"):
        stream = make_stream(FeCAM(domains=rule), on=scenario)
        stream.run()
        answers.append(stream.matrix.class_incremental[-1])
    np.testing.assert_array_equal(*answers)


def test_fecam_takes_powers_of_features_that_have_them(make_stream: Any, scenario: Scenario) -> None:
    with pytest.raises(UserError, match="fecam: tukey is a power, but this backbone has negative features"):
        make_stream(FeCAM(tukey=0.5)).run()
    with pytest.raises(UserError, match=r"fecam: tukey is -1\.0, but must be positive"):
        FeCAM(tukey=-1.0)
    stream = make_stream(FeCAM(tukey=0.5))
    plain = stream.learner.backbone.forward
    stream.learner.backbone.forward = lambda images: plain(images).abs()
    stream.run()
    features, labels, test = train_set(stream, scenario)
    roots = [(unit(features**0.5), labels)]
    expected = np.argmin([authors_distances(roots, unit(test**0.5), label) for label in range(6)], axis=0)
    assert np.mean(expected == stream.matrix.class_incremental[-1]) > 0.99


@pytest.mark.parametrize("method", [NCM, FeCAM, LDA, lambda: RanPAC(projection=150)])
def test_a_class_whose_images_have_not_come_is_never_answered(
    method: Any, make_stream: Any, scenario: Scenario
) -> None:
    first = scenario.tasks[0]
    rare = first.classes[0]
    without = dataclasses.replace(first, train=first.train[scenario.labels[first.train] != rare])
    stream = make_stream(method(), on=dataclasses.replace(scenario, tasks=(without, *scenario.tasks[1:])))
    stream.run()
    assert not (stream.matrix.class_incremental[1:] == rare).any()
    logits = stream.learner.predict_logits(gather(scenario.table, scenario.labels, scenario.tasks[2].test[:4], False))
    assert logits.isfinite().all()
    assert stream.matrix.counts().of("class_incremental").accuracy[-1].mean() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ncm", "fecam", "lda", "ranpac", "aper"])
def test_an_image_that_comes_again_does_not_count_again(
    method: str, make_stream: Any, scenario: Scenario, tmp_path: Any
) -> None:
    """Statistics of a recurring stream are those of the same stream with each task once; on resume too."""
    makes = {
        "ncm": NCM,
        "fecam": FeCAM,
        "lda": LDA,
        "ranpac": lambda: RanPAC(projection=150),
        "aper": lambda: APER(size=2),
    }
    more = [scenario.tasks[n] for n in (0, 1, 0, 0, 2, 1)]
    again = dataclasses.replace(
        scenario, tasks=tuple(dataclasses.replace(task, index=n) for n, task in enumerate(more)), kind="recurring",
        separate_splits=scenario.eval_splits,
    )  # fmt: skip
    once, often = makes[method](), makes[method]()
    make_stream(once, on=scenario).run()
    make_stream(often, on=again, checkpoint=tmp_path / "c.ckpt").run()
    resumed = makes[method]()
    stream = make_stream(resumed, on=again, checkpoint=tmp_path / "c.ckpt")
    stream.run()
    for key, value in once.state_dict().items():
        if method == "ranpac" and key == "_classifier":
            continue  # its ridge is drawn by the place in the stream
        torch.testing.assert_close(often.state_dict()[key], value, rtol=0, atol=0)
        torch.testing.assert_close(resumed.state_dict()[key], value, rtol=0, atol=0)
