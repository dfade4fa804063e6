"""All metric variants as pure functions of the counts, named after what they compute and where they come from.

Notation: ``A[i, j]`` is the accuracy on part ``j`` after learning task ``i``, ``A[-1, j]`` the one before any training,
``n[j]`` the size of the part, ``T`` the number of tasks. Values are fractions in [0, 1] or differences of them. A
variant that is undefined for a stream of one task is ``nan``.

In the papers' streams, part ``j`` is the test part of task ``j``. If tasks recur or share classes, the task's own index
is replaced by ``l[j]``, the task after which part ``j`` is learned for the first time: "task ``j`` is learned so far"
means ``l[j] <= i``, ``A[j, j]`` means ``A[l[j], j]``, and "the earlier tasks" are the parts with ``l[j] < T-1``. With
``l[j] = j`` these are exactly the papers' formulas.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clsuite.metrics.counts import Counts, Floats


def final_accuracy_macro(counts: Counts) -> float:
    """Mean of the last row, with equal weight for every task (Lopez-Paz & Ranzato 2017, ACC; Mammoth).

    If tasks have different numbers of test images, this is not the "last accuracy" that most class-incremental papers
    report: see `final_accuracy_weighted`.
    """
    return float(counts.accuracy[-1].mean())


def final_accuracy_weighted(counts: Counts) -> float:
    """Mean of the last row, weighted by test samples (Avalanche's stream accuracy after the last task; PILOT).

    This is the accuracy on all test images together, which PILOT, RanPAC, FeCAM and SLCA call the last accuracy. For a
    model that does not depend on the order of tasks it is the same in every order, unlike the macro mean.
    """
    return float(counts.correct[-1].sum() / counts.n.sum())


def accuracy_over_time_macro(counts: Counts) -> Floats:
    """After each task, the mean accuracy over the parts learned so far, ``[T]`` (`nan` if there are none yet)."""
    matrix, known = counts.accuracy, _known(counts)
    return np.array([matrix[i, known[i]].mean() if known[i].any() else np.nan for i in range(counts.tasks)])


def accuracy_over_time_weighted(counts: Counts) -> Floats:
    """After each task, the accuracy over all samples of the parts learned so far, ``[T]`` (`nan` if there are none)."""
    known = _known(counts)
    right = [counts.correct[i + 1, known[i]].sum() for i in range(counts.tasks)]
    return np.array([right[i] / counts.n[known[i]].sum() if known[i].any() else np.nan for i in range(counts.tasks)])


def _known(counts: Counts) -> NDArray[np.bool_]:
    """Which parts are learned after each task, ``[T, C]``."""
    known: NDArray[np.bool_] = counts.learned <= np.arange(counts.tasks)[:, None]
    return known


def average_incremental_accuracy_weighted(counts: Counts) -> float:
    """Mean over the stages of the accuracy on all classes seen so far (Rebuffi et al. 2017, iCaRL; PILOT)."""
    return float(np.nanmean(accuracy_over_time_weighted(counts)))


def average_incremental_accuracy_macro(counts: Counts) -> float:
    """Mean over the stages of the task-macro accuracy so far (Mammoth's average of its class-mean accuracies)."""
    return float(np.nanmean(accuracy_over_time_macro(counts)))


def performance_drop(counts: Counts) -> float:
    """Accuracy on the first task after it, minus that on all parts after the last task (Zhang et al. 2021, CEC: PD).

    Both are weighted by test samples, as few-shot class-incremental papers report the accuracy of each session.
    """
    stages = accuracy_over_time_weighted(counts)
    return float(stages[0] - stages[-1]) if counts.tasks > 1 else float("nan")


def forgetting_max_before_last(counts: Counts) -> float:
    """Mean over the earlier tasks of the best accuracy before the last task minus the last accuracy (Chaudhry 2018).

    The best is taken over the rows ``j..T-2``, in which task ``j`` has been learned; the result can be negative.
    """
    matrix, last = counts.accuracy, counts.tasks - 1
    drops = [matrix[counts.learned[j] : last, j].max() - matrix[last, j] for j in counts.earlier]
    return float(np.mean(drops)) if drops else float("nan")


def accuracy_over_time_all(counts: Counts) -> Floats:
    """After each task, the mean accuracy over all parts, learned or not, ``[T]``; their mean is `mtil_average`."""
    means: Floats = counts.accuracy.mean(axis=1)
    return means


def forgetting_over_time(counts: Counts) -> Floats:
    """After each task, the mean forgetting of the parts learned before it, ``[T]`` (`nan` if there are none yet).

    ``f[i] = mean_{j: l[j]<i} (max_{l[j]<=k<i} A[k,j] - A[i,j])`` (Chaudhry et al. 2018, section 3.1); the last value is
    `forgetting_max_before_last`.
    """
    matrix, learned = counts.accuracy, counts.learned
    earlier = [np.flatnonzero(learned < i) for i in range(counts.tasks)]
    drops = [[matrix[learned[j] : i, j].max() - matrix[i, j] for j in parts] for i, parts in enumerate(earlier)]
    return np.array([np.mean(drop) if drop else np.nan for drop in drops])


def forgetting_max_any_row(counts: Counts) -> float:
    """Mean over the earlier tasks of the best accuracy since learning, the last row included, minus the last accuracy.

    Never negative (Mammoth, PILOT: both store zeros for tasks that are not learned yet, so that accuracies before
    learning do not count; here the rows are ``j..T-1``).
    """
    matrix = counts.accuracy
    drops = [matrix[counts.learned[j] :, j].max() - matrix[-1, j] for j in counts.earlier]
    return float(np.mean(drops)) if drops else float("nan")


def forgetting_just_after(counts: Counts) -> float:
    """Mean over the earlier tasks of the accuracy just after learning minus the last accuracy (Avalanche)."""
    drops = (counts.just_learned - counts.accuracy[-1])[counts.earlier]
    return float(drops.mean()) if len(drops) else float("nan")


def backward_transfer(counts: Counts) -> float:
    """Mean over the earlier tasks of ``A[T-1, j] - A[j, j]`` (Lopez-Paz & Ranzato 2017, BWT; Avalanche)."""
    return -forgetting_just_after(counts)


def forward_transfer(counts: Counts) -> float:
    """Mean over the later tasks of ``A[j-1, j] - A[-1, j]`` (Lopez-Paz & Ranzato 2017, FWT; Avalanche).

    In class-incremental streams the classes of a task are unknown before it, so that all these entries are 0 for any
    method, and so would be the transfer. Since this value would be meaningless, the result is `nan`.
    """
    later = np.flatnonzero(counts.learned > 0)
    before, ahead = counts.initial[later], counts.accuracy[counts.learned[later] - 1, later]
    return float((ahead - before).mean()) if before.any() or ahead.any() else math.nan


def learning_accuracy(counts: Counts) -> float:
    """Mean of the diagonal: the accuracy on each task just after learning it (Riemer et al. 2019, LA)."""
    return float(counts.just_learned.mean())


def intransigence(counts: Counts, joint: Counts) -> float:
    """Mean over the tasks of joint training's ``A*[j, j]`` minus the method's (Chaudhry et al. 2018, section 3.2).

    ``A*[j, j]`` is the accuracy on part ``j`` of a model that was trained on the data of the tasks ``0..j`` together:
    the diagonal of a joint run, as in the paper, and not its last row. The result is negative if the method is better:
    joint training is an upper bound only as far as its own training (epochs, optimizer) allows.

    Args:
        counts: The method's counts.
        joint: The counts of a run that trains on all data seen so far after each task, on the same stream.

    Raises:
        ValueError: If the two runs have different test parts.
    """
    if not (np.array_equal(counts.n, joint.n) and np.array_equal(counts.learned, joint.learned)):
        raise ValueError("intransigence compares runs on the same test parts")
    return float((joint.just_learned - counts.just_learned).mean())


def mtil_transfer(counts: Counts) -> float:
    """Transfer of MTIL (Zheng et al., ICCV 2023, ZSCL, section 4): accuracy on data sets that are not learned yet.

    ``mean_{j: l[j]>=1} mean_{i<l[j]} A[i, j]``: first the mean over the rows before a data set is learned, then the
    mean over the data sets, so that all of them have equal weight (the upper right triangle; the paper's matrix has no
    row before training, and the task is known at test time).

    A head that grows with the classes has no outputs for a data set that it has not learned, so all predictions on it
    are wrong, and Transfer is 0 by construction. The metric is meaningful for methods that predict classes by their
    names (an open vocabulary): their predictions are measured from the row before any training on. In class-incremental
    counts, in which only seen classes compete, it is 0 for them too.
    """
    matrix = counts.accuracy
    later = [matrix[: counts.learned[j], j].mean() for j in np.flatnonzero(counts.learned > 0)]
    return float(np.mean(later)) if later else float("nan")


def mtil_average(counts: Counts) -> float:
    """Avg of MTIL (Zheng et al., ICCV 2023, ZSCL, section 4): mean over all tasks and all data sets, learned or not."""
    return float(counts.accuracy.mean())


def mtil_last(counts: Counts) -> float:
    """Last of MTIL (Zheng et al., ICCV 2023, ZSCL, section 4): mean over the data sets after the last task."""
    return float(counts.accuracy[-1].mean())
