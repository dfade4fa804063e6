"""Gaussians of classes: their statistics, what is drawn from them, and classes that come again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner.class_gaussians import ClassGaussians, SpreadKind


def features(number: int = 60, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Of three classes, correlated and of different spread."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(3, 5, 5, generator=generator)
    labels = torch.arange(3).repeat(number // 3)
    return (torch.randn(number, 1, 5, generator=generator) @ mix[labels]).squeeze(1) + labels[:, None], labels


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_statistics_are_those_of_numpy(kind: SpreadKind) -> None:
    rows, labels = features()
    known = ClassGaussians(5, kind)
    known.add(rows, labels)
    for label in range(3):
        own = rows[labels == label].double().numpy()
        spread = np.cov(own.T) if kind == "full" else own.var(axis=0, ddof=1)
        np.testing.assert_allclose(known.means[label], own.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(known.spreads[label], spread, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_drawn_features_have_the_statistics_of_their_class(kind: SpreadKind) -> None:
    known = ClassGaussians(5, kind)
    known.add(*features())
    drawn, labels = known.sampler()(20_000, generator())
    for label in range(3):
        own = drawn[labels == label]
        covariance = known.spreads[label] if kind == "full" else known.spreads[label].diag()
        torch.testing.assert_close(own.mean(dim=0), known.means[label], atol=0.1, rtol=0)
        torch.testing.assert_close(own.T.cov(), covariance, atol=0.5, rtol=0.05)


def test_means_are_drawn_with_their_factors() -> None:
    known = ClassGaussians(2)
    known.add(torch.tensor([[2.0, 4.0], [6.0, 8.0]]), torch.tensor([1, 0]))
    drawn, labels = known.sampler(torch.tensor([1.0, 0.5]))(4, generator())
    torch.testing.assert_close(drawn[labels == 0], torch.tensor([[6.0, 8.0]]).expand(4, 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(drawn[labels == 1], torch.tensor([[1.0, 2.0]]).expand(4, 2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_the_ridge_is_relative_to_the_mean_variance_or_absolute(kind: SpreadKind) -> None:
    """Two features per class along the first axis, variance 200: mean variance 100."""
    rows, labels = torch.tensor([[-10.0, 0.0], [10.0, 0.0]]), torch.zeros(2, dtype=torch.int64)
    for ridge_kind, variance in (("relative", 0.25 * 100), ("absolute", 0.25)):
        known = ClassGaussians(2, kind, 0.25, ridge_kind)  # type: ignore[arg-type]
        known.add(rows, labels)
        drawn, _ = known.sampler()(50_000, generator())
        assert drawn[:, 1].var().item() == pytest.approx(variance, rel=0.03)
        assert drawn[:, 0].var().item() == pytest.approx(200 + variance, rel=0.03)


@pytest.mark.parametrize("kind", ["full", "diagonal", "centroids"])
def test_a_class_of_one_image_can_be_drawn(kind: SpreadKind) -> None:
    known = ClassGaussians(4, kind)
    known.add(torch.ones(1, 4), torch.tensor([0]), generator())
    drawn, labels = known.sampler()(3, generator())
    assert drawn.isfinite().all()
    assert labels.tolist() == [0, 0, 0]


def test_a_ridge_that_leaves_a_covariance_singular_is_refused_with_the_class() -> None:
    known = ClassGaussians(8, "full", ridge=1e-30, ridge_kind="absolute")
    known.add(torch.randn(3, 8, generator=generator()), torch.full((3,), 4))
    with pytest.raises(UserError, match=r"class 4 is too near to singular .*: ridge is 1e-30, raise it"):
        known.sampler()


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_a_class_that_comes_again_is_pooled_as_if_all_had_come_at_once(kind: SpreadKind) -> None:
    rows, labels = features()
    whole, parts = ClassGaussians(5, kind), ClassGaussians(5, kind)
    whole.add(rows, labels)
    for part in (slice(0, 3), slice(3, 24), slice(24, 25), slice(25, 60)):
        parts.add(rows[part], labels[part])
    assert torch.equal(whole.counts, parts.counts)
    assert torch.equal(whole.labels, parts.labels)
    torch.testing.assert_close(parts.means, whole.means)
    torch.testing.assert_close(parts.spreads, whole.spreads, atol=1e-4, rtol=1e-4)


def test_centroids_are_those_of_the_clusters() -> None:
    """Two clusters of three: each has its mean and the variance of its own."""
    low, high = (
        torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]),
        torch.tensor([[50.0, 9.0], [50.0, 9.0], [50.0, 6.0]]),
    )
    known = ClassGaussians(2, "centroids", centroids=2)
    known.add(torch.cat([low, high]), torch.full((6,), 7), generator())
    order = known.means[:, 0].argsort()
    torch.testing.assert_close(known.means[order], torch.tensor([[1.0, 0.0], [50.0, 8.0]]))
    torch.testing.assert_close(known.spreads[order], torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    assert known.labels.tolist() == [7, 7]
    assert known.counts.tolist() == [3, 3]
    with pytest.raises(UserError, match="the class 7 comes again, and its centroids cannot be joined"):
        known.add(low, torch.full((3,), 7), generator())


def test_what_is_saved_draws_the_same() -> None:
    known, again = ClassGaussians(5), ClassGaussians(5)
    known.add(*features())
    again.load_state_dict(known.state_dict())
    assert torch.equal(known.sampler()(4, generator())[0], again.sampler()(4, generator())[0])
    assert known.bytes == 4 * 3 * (5 + 25)
