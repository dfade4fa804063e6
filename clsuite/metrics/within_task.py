"""Metrics of the accuracy within tasks, as pure functions of the curves.

Notation: ``a[t, s, j]`` is the accuracy on part ``j`` after ``s`` steps of task ``t``, ``S`` the last evaluation of a
task (after it), ``l[j]`` the task after which part ``j`` is first learned. Minima are taken over the evaluations after
at least one step of a task (``s > 0``), when the head has grown. A stream of one task has no earlier parts, so metrics
on them are ``nan``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from clsuite.metrics.column import Column
from clsuite.metrics.counts import Floats
from clsuite.metrics.curves import Curves

RECOVERED = 0.95
"""Share of the accuracy at the end of a task at which an earlier part counts as recovered."""


def min_accuracy(curves: Curves) -> float:
    """min-ACC: the mean over the earlier parts of the lowest accuracy since their task ended.

    ``mean_{j: l[j] < T-1} min_{t > l[j], s > 0} a[t, s, j]`` (De Lange et al., ICLR 2023, "Continual evaluation for
    lifelong learning: identifying the stability gap", section 3), after the last task.
    """
    minima = _minima(curves)[curves.learned < curves.tasks - 1]
    return float(minima.mean()) if len(minima) else float("nan")


def worst_case_accuracy(curves: Curves) -> float:
    """WC-ACC: mean of the last task's final accuracy and the minima of the other parts, all with equal weight.

    ``1/k a[T-1, S, k] + (1 - 1/k) min-ACC`` with ``k`` tasks (De Lange et al., ICLR 2023, section 3), after the last
    task; with more parts, the mean over those of the last task of ``a[T-1, S, j]`` and over the others of their minima.
    """
    last = curves.accuracy(curves.tasks - 1)[-1]
    return float(np.where(curves.learned < curves.tasks - 1, _minima(curves), last).mean())


def average_anytime_accuracy(curves: Curves) -> float:
    """AAA: the mean over all regular evaluations of the mean accuracy on the parts learned so far.

    ``mean_{t, s} mean_{j: l[j] <= t} a[t, s, j]`` (Caccia et al. 2020, "Online learned continual compression with
    adaptive quantization modules", who average the accuracy over all moments of a stream). Evaluations before the first
    step and the additional ones among the first steps are not used, because they would give the start more weight. All
    parts have equal weight, and a part counts as soon as all its classes are known: on blurry streams this differs from
    the accuracy on the classes seen so far (see `area_under_exposed_accuracy`).
    """
    means = []
    for task in range(curves.tasks):
        known = curves.learned <= task
        if known.any():
            means.append(curves.accuracy(task)[curves.regular(task)][:, known].mean(axis=1))
    return float(np.concatenate(means).mean()) if means else float("nan")


def area_under_exposed_accuracy(curves: Curves) -> float:
    """A_AUC of i-Blurry: the area under the accuracy on the classes seen so far, over the images of the stream.

    ``sum_i e[i] d[i] / sum_i d[i]`` over the regular evaluations of the stream, where ``e`` is the accuracy on all test
    images of the classes seen so far and ``d`` the number of steps since the previous evaluation (Koh et al., ICLR
    2022, "Online continual learning on class incremental blurry task configuration with anytime inference", who
    evaluate at equal intervals of images, with constant ``d``; Moon et al., ICCV 2023, use it too). A step is a batch:
    images in a single pass. An incomplete interval at the end of a task is weighted by its number of steps, and a task
    without steps counts as one step. The result is `nan` if it was not measured, as in streams with several passes.
    """
    if curves.exposed is None:
        return float("nan")
    values, lengths = [], []
    for task, exposed in enumerate(curves.exposed):
        regular = curves.regular(task)
        values.append(exposed[regular])
        lengths.append(np.diff(curves.steps[task][regular], prepend=0) if curves.steps[task][-1] else np.ones(1))
    area, length = np.concatenate(values), np.concatenate(lengths)
    return float((area * length).sum() / length.sum())


def stability_gap_depth(curves: Curves) -> float:
    """How far the accuracy on earlier parts drops within a task.

    ``mean_{t > 0} mean_{j: l[j] < t} (a[t-1, S, j] - min_{s > 0} a[t, s, j])`` (after De Lange et al., ICLR 2023,
    section 2). It includes lasting forgetting; negative if the accuracy only increases.
    """
    return _mean_over_tasks(curves, lambda before, during, steps: float(before - during.min()))


def stability_gap_length(curves: Curves) -> float:
    """Number of steps from the start of a task until the accuracy on earlier parts has recovered.

    For ``t > 0`` and ``l[j] < t``: the smallest ``s`` not before the first minimum of ``a[t, s > 0, j]`` at which
    ``a[t, s, j] >= 0.95 a[t, S, j]``, or 0 if the minimum itself is that high; the mean over the parts, then over the
    tasks (after De Lange et al., ICLR 2023, section 2). The resolution is that of the evaluations. Lasting forgetting
    has length 0, because nothing recovers: the length should be read together with the depth.
    """
    return _mean_over_tasks(curves, lambda before, during, steps: _length(during, steps))


def _length(during: Floats, steps: Floats) -> float:
    target = RECOVERED * during[-1]
    lowest = int(during.argmin())
    if during[lowest] >= target:
        return 0.0
    return float(steps[lowest + int(np.argmax(during[lowest:] >= target))])


def _minima(curves: Curves) -> Floats:
    """For each part the lowest accuracy in later tasks, ``[C]``; ``inf`` if there is none."""
    minima = np.full(len(curves.n), np.inf)
    for task in range(curves.tasks):
        lowest = curves.accuracy(task)[curves.after_a_step(task)].min(axis=0)
        minima = np.where(curves.learned < task, np.minimum(minima, lowest), minima)
    return minima


def _mean_over_tasks(curves: Curves, measure: Callable[[float, Floats, Floats], float]) -> float:
    means = [float(np.mean(values)) for values in _by_task(curves, measure)]
    return float(np.mean(means)) if means else float("nan")


def _by_task(curves: Curves, measure: Callable[[float, Floats, Floats], float]) -> Iterator[list[float]]:
    for task in range(1, curves.tasks):
        earlier = np.flatnonzero(curves.learned < task)
        before, after = curves.accuracy(task - 1)[-1], curves.after_a_step(task)
        during, steps = curves.accuracy(task)[after], curves.steps[task][after].astype(np.float64)
        if len(earlier):
            yield [measure(before[part], during[:, part], steps) for part in earlier]


@dataclass(frozen=True)
class WithinTaskMetric(Column):
    """A named metric that is computed from the curves.

    Attributes:
        compute: The function that computes it.
    """

    compute: Callable[[Curves], float] = field(kw_only=True)


EXPOSED = "area_under_exposed_accuracy"
"""The only metric within tasks that requires a stream with a single pass."""
WITHIN_TASK: dict[str, WithinTaskMetric] = {
    metric.name: metric
    for metric in (
        WithinTaskMetric(
            "min_accuracy",
            "min-ACC",
            "mean_{j: l[j]<T-1} min_{t>l[j],s>0} a[t,s,j]",
            "De Lange et al. 2023",
            True,
            "Lowest accuracy on each earlier part since its task ended: the mean over those parts.",
            compute=min_accuracy,
        ),
        WithinTaskMetric(
            "worst_case_accuracy",
            "WC-ACC",
            "1/k a[T-1,S,k] + (1-1/k) min-ACC",
            "De Lange et al. 2023",
            True,
            "Final accuracy on the last task and the lowest on each earlier one, all alike.",
            compute=worst_case_accuracy,
        ),
        WithinTaskMetric(
            "average_anytime_accuracy",
            "AAA",
            "mean_{t,s} mean_{j: l[j]<=t} a[t,s,j]",
            "Caccia et al. 2020",
            True,
            "Accuracy on the parts learned so far at every moment of training: the mean over all.",
            compute=average_anytime_accuracy,
        ),
        WithinTaskMetric(
            EXPOSED,
            "A_AUC",
            "sum_i e[i] d[i] / sum_i d[i]",
            "Koh et al. 2022 (i-Blurry); Moon et al. 2023",
            True,
            "Accuracy on the test images of all classes met so far, over the images of the stream: the area under "
            "that curve.",
            compute=area_under_exposed_accuracy,
        ),
        WithinTaskMetric(
            "stability_gap_depth",
            "gap depth",
            "mean_{t>0} mean_{j: l[j]<t} (a[t-1,S,j] - min_{s>0} a[t,s,j])",
            "after De Lange et al. 2023",
            False,
            "How far the accuracy on earlier parts falls while a new task is learned.",
            compute=stability_gap_depth,
        ),
        WithinTaskMetric(
            "stability_gap_length",
            "gap length (steps)",
            "mean_{t>0} mean_{j: l[j]<t} min {s >= argmin a[t,:,j]: a[t,s,j] >= 0.95 a[t,S,j]}",
            "after De Lange et al. 2023",
            False,
            "Steps of a new task until the accuracy on earlier parts has recovered.",
            "number",
            compute=stability_gap_length,
        ),
    )
}
