"""Checks a record's account of its run: losses, times, curves within tasks, and the search before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from clsuite.errors import printable
from clsuite.metrics import METRICS
from clsuite.records import CurveEntry, RunRecord, TaskEntry, TrialEntry, WithinTaskEntry
from clsuite.stream.within_task_spec import EvaluationSpec

LARGEST_LOSS = 1e12
"""Losses above it do not occur in training that continues."""
SAMPLERS = ("grid", "tpe")


def course_problem(record: RunRecord) -> str:
    """The problem with the account of its run; empty if a finished run of its configuration can have it."""
    problems = (f"task {index}: {text}" for index, task in enumerate(record.tasks, 1) if (text := _of_task(task)))
    if problem := next(problems, ""):
        return problem
    if not record.seconds:
        return "it says that it took no time"
    return _curves(record) or _search(record)


def _of_task(task: TaskEntry) -> str:
    """The problem with the loss and the times of a task."""
    if task.final_loss is None and task.steps:
        return f"it took {task.steps} steps, and has no final loss"
    if task.final_loss is not None and not task.steps:
        return "it took no step, and has a final loss"
    if task.final_loss is not None and not abs(task.final_loss) <= LARGEST_LOSS:
        return f"no training ends with a loss of {task.final_loss}"
    if not (task.train_seconds and task.eval_seconds):
        return "it says that training or evaluation took no time"
    return ""


def _curves(record: RunRecord) -> str:
    """The problem with its curves within tasks, which must be those that its configuration asks for."""
    asked, curves = record.config.get("evaluation"), record.within_task
    if (asked is None) != (curves is None):
        return f"within_task: it is {'missing' if curves is None else 'there, but its configuration asks for none'}"
    if asked is None or curves is None:
        return ""
    assert record.counts is not None
    spec = EvaluationSpec.model_validate(asked)
    sizes, learned = record.main_counts.n, record.main_counts.learned
    if curves.every != spec.every or len(curves.tasks) != len(record.tasks):
        return "within_task: it is not every task's, or not as often as its configuration asks for"
    if [*curves.learned] != learned.tolist() or len(curves.n) != len(sizes):
        return "within_task: its parts are not those of its matrix"
    if any(size > min(spec.samples, most) for size, most in zip(curves.n, sizes.tolist(), strict=True)):
        return f"within_task: it is on more than {spec.samples} images of a part, or more than there are"
    pairs = zip(curves.tasks, record.tasks, strict=True)
    problems = (_steps(curve, task, spec) or _ends(record, curves, index) for index, (curve, task) in enumerate(pairs))
    return next((f"within_task: task {index}: {text}" for index, text in enumerate(problems, 1) if text), "")


def _steps(curve: CurveEntry, task: TaskEntry, spec: EvaluationSpec) -> str:
    if curve.steps[-1] != task.steps or not all(spec.wants(step) for step in curve.steps[:-1]):
        return f"it is read after {curve.steps[-1]} steps at last, and not where its configuration asks for"
    return ""


def _ends(record: RunRecord, curves: WithinTaskEntry, task: int) -> str:
    """The problem with the last point of a curve, whose images are counted in the matrix as well."""
    assert record.counts is not None
    chosen, left = np.array(curves.n), record.main_counts.n - np.array(curves.n)
    known = np.array(curves.learned) <= task
    for protocol in ("class_incremental", "task_aware"):
        last = np.array(getattr(curves.tasks[task], protocol)[-1])
        right = np.array(getattr(record.counts, protocol)[task + 1])
        if (known & ((last > np.minimum(right, chosen)) | (last < right - left))).any():
            return f"its last {protocol} does not go with the matrix"
    return ""


def _search(record: RunRecord) -> str:
    """The problem with its hyperparameter search."""
    tuning = record.tuning
    if tuning is None:
        return ""
    metric, validation = METRICS.get(tuning.metric), tuning.validation
    if metric is None or tuning.sampler not in SAMPLERS or not (validation is None or 0 < validation < 1):
        return "tuning: no search has such a metric, sampler or share of validation"
    if not tuning.tasks or not tuning.trials:
        return "tuning: it is a search without tasks or trials"
    trains = any(task.gradient_samples for task in record.tasks)
    if odd := next((text for candidate in tuning.trials if (text := _trial(candidate, tuning.chosen, trains))), ""):
        return f"tuning: {odd}"
    finished = [candidate for candidate in tuning.trials if candidate.score is not None]
    sign = 1 if metric.higher_is_better else -1
    if not finished or max(finished, key=lambda candidate: sign * (candidate.score or 0.0)).values != tuning.chosen:
        return "tuning: what was chosen is not what came out best"
    for name, value in tuning.chosen.items():
        if value not in [given for place, given in _given(record) if place.endswith(f".{name}")]:
            return f"tuning: it chose {printable(name)} {value!r}, and the run has another"
    return ""


def _trial(trial: TrialEntry, chosen: Mapping[str, Any], trains: bool) -> str:
    if trial.values.keys() != chosen.keys():
        return "a trial is of other hyperparameters"
    if trial.score is None:
        return ""
    if not math.isfinite(trial.score) or (trains and not trial.gradient_samples) or not trial.seconds:
        return "a trial has no score, or cost nothing"
    return ""


def _given(record: RunRecord) -> Iterator[tuple[str, Any]]:
    """Every argument of its plugins and option of its training, with its dotted name."""
    for entry in record.plugins:
        short = entry.name.rpartition(":")[0].removesuffix(".py") or entry.name.removesuffix(".py")
        yield from ((f".{short}.{name}", value) for name, value in entry.args.items())
    for name, value in (record.config.get("training") or {}).items():
        yield f".training.{name}", value
        if isinstance(value, dict):
            yield from ((f".training.{name}.{inner}", content) for inner, content in value.items())
