"""Transfer, Avg and Last: how cross-domain sequences of data sets are reported.

Zheng et al., "Preventing zero-shot transfer degradation in continual learning of vision-language models" (ICCV 2023,
ZSCL), section 4 (MTIL) and figure 4. The paper's matrix has a row after each task, none before the first, and knows the
task at test time: compare with the paper in the task-aware protocol. Notation as in `clsuite.metrics.variants`.
"""

from __future__ import annotations

import numpy as np

from clsuite.metrics.counts import Counts


def mtil_transfer(counts: Counts) -> float:
    """Transfer: accuracy on data sets not learned yet, ``mean_{j: l[j]>=1} mean_{i<l[j]} A[i, j]``.

    Each data set's mean over the rows before it is learned, then the mean over the data sets, so that each weighs the
    same (figure 4, upper right triangle). A head that grows with the classes scores 0 by construction.
    """
    matrix = counts.accuracy
    later = [matrix[: counts.learned[j], j].mean() for j in np.flatnonzero(counts.learned > 0)]
    return float(np.mean(later)) if later else float("nan")


def mtil_average(counts: Counts) -> float:
    """Avg: mean over all tasks and all data sets, learned or not, ``mean_j mean_i A[i, j]`` (figure 4)."""
    return float(counts.accuracy.mean())


def mtil_last(counts: Counts) -> float:
    """Last: mean over the data sets after the last task, ``mean_j A[T-1, j]`` (figure 4)."""
    return float(counts.accuracy[-1].mean())
