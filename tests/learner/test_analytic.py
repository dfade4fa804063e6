"""Sums and recursive least squares against scikit-learn; random Fourier features against the RBF kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor

from clsuite.errors import UserError
from clsuite.learner.analytic import FeatureSums, FourierFeatures, RecursiveRidge
from clsuite.learner.discriminant import Discriminant


def data(images: int = 90, width: int = 40, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, width, generator=generator).relu()
    return features, torch.eye(classes)[torch.arange(images) % classes]


@pytest.mark.parametrize("width", [40, 200])
@pytest.mark.parametrize("batch", [1, 7, 64, 90])
def test_recursive_least_squares_are_the_ridge_regression_of_all_images_in_any_order_and_batches(
    batch: int, width: int
) -> None:
    features, targets = data(width=width)
    oracle = Ridge(alpha=0.1, fit_intercept=False, solver="cholesky").fit(features.double(), targets.double())
    sums = FeatureSums(width, 3)
    sums.add(features, targets)
    torch.testing.assert_close(sums.ridge_regression(0.1).numpy(), oracle.coef_.T, rtol=0, atol=1e-8)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    recursive = RecursiveRidge(width, 3, ridge=0.1, batch=batch)
    for rows in order.split(50):
        recursive.add(features[rows], targets[rows])
    torch.testing.assert_close(recursive.ridge_regression(0.1), sums.ridge_regression(0.1), rtol=0, atol=1e-8)


def test_one_update_by_hand() -> None:
    """Feature 2, target 3, ridge 4: the inverse is 1 / (4 + 4), the weight 6 / 8."""
    recursive = RecursiveRidge(1, 1, ridge=4.0, batch=8)
    recursive.add(torch.tensor([[2.0]]), torch.tensor([[3.0]]))
    assert recursive.inverse.item() == pytest.approx(1 / 8)
    assert recursive.weights.item() == pytest.approx(6 / 8)
    with pytest.raises(ValueError, match=r"the ridge has been 4.0 from the start, and cannot be 1.0"):
        recursive.ridge_regression(1.0)


def test_a_ridge_that_rounding_errors_exceed_is_one_clear_line() -> None:
    features, targets = 1e6 + torch.arange(30.0).expand(32, 30), torch.ones(32, 1)
    recursive = RecursiveRidge(30, 1, ridge=1e-20, batch=4)
    with pytest.raises(UserError, match="a ridge of 1e-20 is too small for recursive updates of these features"):
        recursive.add(features, targets)


def test_fourier_features_have_the_inner_products_of_the_rbf_kernel() -> None:
    features = data(images=20, width=10)[0]
    fourier = FourierFeatures(10, 40_000, None, torch.Generator().manual_seed(0))
    fourier.fit(features)
    assert fourier.gamma == pytest.approx(1 / (10 * features.numpy().var()), rel=1e-5)  # scikit-learn's `scale`
    mapped = fourier(features).double()
    np.testing.assert_allclose(mapped @ mapped.T, rbf_kernel(features, gamma=fourier.gamma), atol=0.03)
    first = fourier.gamma
    fourier.fit(2 * features)
    assert fourier.gamma == first  # of the first features


def test_equal_features_have_some_gamma() -> None:
    fourier = FourierFeatures(4, 8, None, torch.Generator())
    fourier.fit(torch.ones(5, 4))
    assert fourier(torch.ones(2, 4)).isfinite().all()


def test_a_discriminant_does_not_depend_on_parts() -> None:
    features, targets = data()
    numbers = targets.sum(dim=0).long()
    answers = []
    for parts in (1, 3, 90):
        lda = Discriminant(40, 3)
        for rows in torch.arange(90).chunk(parts):
            lda.sums.add(features[rows], targets[rows])
        lda.solve(numbers, lda.covariance(numbers) + 0.1 * torch.eye(40))
        answers.append(lda.scores(features, 3))
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(answers[2], answers[0], rtol=1e-5, atol=1e-5)
