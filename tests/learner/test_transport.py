"""Plans of entropic transport: marginals, the limits of weak and strong entropy, and costs far above it."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from clsuite.plugin.helpers import entropic_transport


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 3), (2, 6), (1, 3)])
@pytest.mark.parametrize("spread", [0.0, 0.1, 40.0])
def test_both_marginals_are_uniform(n: int, m: int, spread: float) -> None:
    cost = spread * torch.rand(n, m, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plan = entropic_transport(cost, 0.02)
    torch.testing.assert_close(plan.sum(dim=0), torch.full((m,), 1 / m, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(dim=1), torch.full((n,), 1 / n, dtype=torch.float64), atol=0, rtol=1e-3)


def test_two_by_two_is_what_can_be_written_down() -> None:
    """With uniform marginals p on the diagonal and 1/2 - p beside it: (p / (1/2 - p))^2 = exp(gain / strength)."""
    cost = torch.tensor([[1.0, 1.3], [1.2, 1.1]], dtype=torch.float64)
    odds = torch.tensor((1.3 + 1.2 - 1.0 - 1.1) / 0.2, dtype=torch.float64).div(2).exp()
    plan = entropic_transport(cost, 0.2)
    torch.testing.assert_close(plan[0, 0], odds / (1 + odds) / 2, atol=1e-4, rtol=0)
    torch.testing.assert_close(plan[0, 0], plan[1, 1], atol=1e-4, rtol=0)


def test_costs_far_above_the_strength_give_the_cheapest_assignment() -> None:
    """Exponentials of such costs are all 0: a plan of their products is one of zeros."""
    cost = 25 + 30 * torch.rand(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert (-cost / 0.02).exp().max() == 0
    rows, columns = linear_sum_assignment(cost)
    expected = torch.zeros(6, 6, dtype=torch.float64)
    expected[rows, columns] = 1 / 6
    torch.testing.assert_close(entropic_transport(cost, 0.02), expected, atol=1e-3, rtol=0)


def test_a_strong_entropy_moves_alike_to_all() -> None:
    cost = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        entropic_transport(cost, 1e4), torch.full((4, 3), 1 / 12, dtype=torch.float64), atol=1e-5, rtol=0
    )
