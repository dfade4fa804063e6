"""Ranks of methods with intervals, which show ties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clsuite.board.model import Rank
from clsuite.data.stable_random import stable_random

DRAWS = 1000
Unit = int | str
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def rank_rows(scores: Sequence[Mapping[Unit, float]]) -> list[Rank]:
    """Rank rows by their mean score, with 95 % intervals by a paired bootstrap over seeds.

    A draw takes seeds with replacement, the same for all rows, and a row's rank in it is one more than the number of
    rows that are better. Two rows are compared by their means over the drawn seeds that both have, so that a seed that
    is hard for all methods makes no difference. If they have no drawn seed in common, each has its mean over its own
    drawn seeds, or over all its seeds if none of them is drawn: every row takes part in every draw.

    The interval covers the variation over the seeds that were run and nothing more, and always contains the rank
    itself. A row of one seed has no interval; in the intervals of the other rows its score is treated as exact.

    Args:
        scores: For each row the score of each of its seeds, or orders if it has several; higher is better.
    """
    seeds = sorted({seed for row in scores for seed in row}, key=lambda seed: (isinstance(seed, str), seed))
    values = np.array([[row.get(seed, np.nan) for seed in seeds] for row in scores], dtype=np.float64)
    there = ~np.isnan(values)
    means = _rounded(np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1))
    ranks = 1 + np.searchsorted(np.sort(-means), -means)
    random = stable_random(0, "rank interval", len(seeds))
    drawn = random.randint(len(seeds), size=(DRAWS, len(seeds)))
    weights = np.stack([(drawn == position).sum(axis=1) for position in range(len(seeds))], axis=1)
    resampled = _ranks(weights.astype(np.float64), values)
    low, high = np.quantile(resampled, (0.025, 0.975), axis=0, method="inverted_cdf")
    return [
        Rank(rank=int(rank), low=None, high=None)
        if len(row) < 2
        else Rank(rank=int(rank), low=int(min(low[i], rank)), high=int(max(high[i], rank)))
        for i, (row, rank) in enumerate(zip(scores, ranks, strict=True))
    ]


def _ranks(weights: Floats, values: Floats) -> Floats:
    """Ranks ``[B, R]`` of rows ``[R, S]`` under seed weights ``[B, S]``; rows with equal seeds are ranked at once."""
    there = ~np.isnan(values)
    kinds, kind_of = np.unique(there, axis=0, return_inverse=True)
    groups = [np.flatnonzero(kind_of.reshape(-1) == kind) for kind in range(len(kinds))]
    ranks = np.ones((len(weights), len(values)))
    for mine, has in zip(groups, kinds, strict=True):
        for other, others_has in zip(groups, kinds, strict=True):
            own = _means(weights, values[mine], has, others_has)
            better = np.sort(-_means(weights, values[other], others_has, has), axis=1)
            ranks[:, mine] += [np.searchsorted(line, -mean) for line, mean in zip(better, own, strict=True)]
    return ranks


def _means(weights: Floats, values: Floats, has: Flags, others_has: Flags) -> Floats:
    """Means ``[B, R]`` of rows that have the seeds `has`, for a comparison with rows that have `others_has`."""
    common, drawn = weights * (has & others_has), weights * has
    used = np.where(common.any(axis=1, keepdims=True), common, drawn)
    used = np.where(used.any(axis=1, keepdims=True), used, has.astype(np.float64))
    return _rounded(used @ np.where(has, values, 0.0).T / used.sum(axis=1, keepdims=True))


def _rounded(means: Floats) -> Floats:
    """Means rounded so that differences in the last bits are ties."""
    rounded: Floats = np.round(means, 12)
    return rounded
