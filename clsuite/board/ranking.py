"""Ranks of methods with their intervals, so that ties are seen as ties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clsuite.board.model import Rank
from clsuite.data.stable_random import stable_random

DRAWS = 1000


def rank_rows(scores: Sequence[dict[int, float]]) -> list[Rank]:
    """Rank rows by their mean score, with 95 % intervals by a paired bootstrap over seeds.

    A draw takes seeds with replacement, the same for all rows, and ranks their means over the seeds drawn. A row that
    has none of them takes no part in that draw.

    Args:
        scores: For each row the score of each of its seeds; higher is better.
    """
    seeds = sorted({seed for row in scores for seed in row})
    values = np.array([[row.get(seed, np.nan) for seed in seeds] for row in scores], dtype=np.float64)
    ranks = _ranks(np.ones((1, len(seeds))), values)[0]
    random = stable_random(0, "rank interval", len(seeds))
    drawn = random.randint(len(seeds), size=(DRAWS, len(seeds)))
    weights = np.stack([(drawn == position).sum(axis=1) for position in range(len(seeds))], axis=1)
    resampled = _ranks(weights.astype(np.float64), values)
    low, high = np.nanquantile(resampled, (0.025, 0.975), axis=0, method="inverted_cdf")
    return [
        Rank(rank=int(ranks[i]), low=None, high=None)
        if len(row) < 2
        else Rank(rank=int(ranks[i]), low=int(low[i]), high=int(high[i]))
        for i, row in enumerate(scores)
    ]


def _ranks(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks ``[B, R]`` of the rows ``[R, S]`` under seed weights ``[B, S]``; `nan` where a row has no seed drawn."""
    there = ~np.isnan(values)
    number = weights @ there.T.astype(np.float64)
    means = np.round(weights @ np.where(there, values, 0.0).T / np.where(number > 0, number, 1.0), 12)
    means[number == 0] = -np.inf
    better = np.sort(-means, axis=1)
    ranks = np.stack([np.searchsorted(line, -mean) + 1.0 for line, mean in zip(better, means, strict=True)])
    ranks[number == 0] = np.nan
    return ranks
