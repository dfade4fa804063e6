"""Class-incremental streams with a long-tailed class distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clsuite.data.stable_random import stable_random
from clsuite.scenarios.assemble import Source
from clsuite.scenarios.by_class import build_by_class, group_classes
from clsuite.scenarios.scenario import Rows, Scenario
from clsuite.scenarios.spec import LongTailed


def build_long_tailed(source: Source, spec: LongTailed) -> Scenario:
    """A stream of imbalanced classes: Liu et al., "Long-tailed class incremental learning" (ECCV 2022), section 3.1.

    Ordered LT-CIL: the class at position ``r`` of the stream has the ``r``-th largest number of images. Shuffled
    LT-CIL: the numbers are permuted among the classes. The test part is not changed.
    """
    groups = group_classes(source, spec)
    count = len(groups.order)
    ranks = np.arange(count)
    if spec.tail == "shuffled":
        ranks = stable_random(source.order_seed, "tail").permutation(count)
    of_class = np.empty(count, dtype=np.int64)
    of_class[groups.order] = ranks
    return build_by_class(spec.kind, source, spec, _thinned(source, of_class, spec.imbalance))


def tail_counts(largest: int, classes: int, imbalance: float) -> NDArray[np.int64]:
    """Number of images of each class by rank: ``n_r = floor(n_0 rho^(-r / (C - 1)))``, at least 1, int64 ``[classes]``.

    This is the exponential profile of Cui et al. (CVPR 2019), section 5.1, which Liu et al. (2022) use; `imbalance` is
    ``rho = n_0 / n_(C-1)``.
    """
    ranks = np.arange(classes) / max(classes - 1, 1)
    exact = largest * imbalance**-ranks
    return np.maximum(np.floor(exact + 1e-9), 1).astype(np.int64)


def _thinned(source: Source, ranks: NDArray[np.int64], imbalance: float) -> Rows:
    """The training rows that are kept, in the table's order; the selection does not depend on the seed."""
    labels = source.table.labels[source.rows]
    largest = int(np.bincount(labels, minlength=len(ranks)).max())
    counts = tail_counts(largest, len(ranks), imbalance)
    kept = [
        stable_random(0, "long tail", label).permutation(source.rows[labels == label])[: counts[ranks[label]]]
        for label in range(len(ranks))
    ]
    return np.sort(np.concatenate(kept))
