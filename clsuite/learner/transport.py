"""Entropic optimal transport between classes."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE, MOST_SWEEPS = 1e-4, 1000
"""Of the marginals of a plan, as a share of them, and after how many sweeps at one strength it is taken as it is."""


def entropic_transport(cost: Tensor, regularization: float) -> Tensor:
    """The plan of entropic optimal transport between uniform marginals (Sinkhorn's algorithm).

    It adds logarithms and begins with a strength of the largest cost, which is halved until it is the asked-for one:
    plans of costs far above their strength converge, where products of exponentials are all 0.

    Args:
        cost: Costs ``[n, m]`` in float64.
        regularization: Strength of the entropy, in units of the cost.

    Returns:
        The plan ``[n, m]``: columns sum to 1/m, rows to 1/n up to the tolerance.
    """
    n, m = cost.shape
    log_n, log_m = -torch.tensor([n, m], dtype=cost.dtype).log()
    second, strength = cost.new_zeros(m), max(float(cost.max()), regularization)
    while True:
        for _ in range(MOST_SWEEPS):
            first = strength * (log_n - ((second - cost) / strength).logsumexp(dim=1))
            second = strength * (log_m - ((first[:, None] - cost) / strength).logsumexp(dim=0))
            plan: Tensor = ((first[:, None] + second - cost) / strength).exp()
            if (n * plan.sum(dim=1) - 1).abs().max() < TOLERANCE:
                break
        if strength <= regularization:
            return plan
        strength = max(strength / 2, regularization)
