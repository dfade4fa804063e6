"""Avalanche's own metric objects, driven through its evaluation events, give the numbers that we call Avalanche's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clsuite.metrics import Counts
from clsuite.metrics import variants as v


def random_counts(seed: int) -> Counts:
    random = np.random.RandomState(seed)
    tasks = random.randint(2, 6)
    n = random.randint(3, 30, tasks)
    return Counts.of(np.stack([random.randint(0, n + 1) for _ in range(tasks + 1)]), n)


def strategy() -> Any:
    """The part of a strategy that evaluation metrics look at."""
    return SimpleNamespace(is_eval=True, eval_every=0, clock=SimpleNamespace(train_iterations=0), experience=None)


def experience(index: int) -> Any:
    return SimpleNamespace(current_experience=index, task_labels=[0], origin_stream=SimpleNamespace(name="test_stream"))


def evaluate(metric: Any, strategy: Any, counts: Counts, row: int) -> float:
    """One evaluation of the whole test stream, two mini-batches a task; returns what the metric emits at its end."""
    import torch

    metric.before_eval(strategy)
    for task, size in enumerate(counts.n):
        strategy.experience = experience(task)
        metric.before_eval_exp(strategy)
        labels = torch.zeros(int(size), dtype=torch.long)
        answers = (torch.arange(int(size)) >= int(counts.correct[row, task])).long()
        for part in torch.arange(int(size)).tensor_split(2):
            strategy.mb_y, strategy.mb_output = labels[part], answers[part]
            metric.after_eval_iteration(strategy)
        metric.after_eval_exp(strategy)
    emitted = metric.after_eval(strategy)
    return float(emitted[-1].value)


def drive(metric: Any, counts: Counts) -> list[float]:
    """A run with an evaluation before training and after each task; what was emitted after each task."""
    running = strategy()
    evaluate(metric, running, counts, 0)
    emitted = []
    for task in range(counts.tasks):
        running.experience = experience(task)
        metric.before_training_exp(running)
        metric.after_training_exp(running)
        emitted.append(evaluate(metric, running, counts, task + 1))
    return emitted


@pytest.mark.parametrize("seed", range(5))
def test_stream_forgetting(seed: int) -> None:
    from avalanche.evaluation.metrics import forgetting_metrics

    counts = random_counts(seed)
    emitted = drive(forgetting_metrics(stream=True)[0], counts)
    assert emitted[-1] == pytest.approx(v.forgetting_just_after(counts))


@pytest.mark.parametrize("seed", range(5))
def test_stream_bwt(seed: int) -> None:
    from avalanche.evaluation.metrics import bwt_metrics

    counts = random_counts(seed)
    assert drive(bwt_metrics(stream=True)[0], counts)[-1] == pytest.approx(v.backward_transfer(counts))


@pytest.mark.parametrize("seed", range(5))
def test_stream_forward_transfer(seed: int) -> None:
    """It averages over the tasks whose predecessor has been learned: all later ones after the last but one task."""
    from avalanche.evaluation.metrics import forward_transfer_metrics

    counts = random_counts(seed)
    emitted = drive(forward_transfer_metrics(stream=True)[0], counts)
    assert emitted[-2] == pytest.approx(v.forward_transfer(counts))


@pytest.mark.parametrize("seed", range(5))
def test_stream_accuracy_weights_samples(seed: int) -> None:
    from avalanche.evaluation.metrics import accuracy_metrics

    counts = random_counts(seed)
    assert drive(accuracy_metrics(stream=True)[0], counts)[-1] == pytest.approx(v.final_accuracy_weighted(counts))


@pytest.mark.parametrize("seed", range(5))
def test_trained_experience_accuracy_is_our_curve(seed: int) -> None:
    from avalanche.evaluation.metrics import accuracy_metrics

    counts = random_counts(seed)
    emitted = drive(accuracy_metrics(trained_experience=True)[0], counts)
    assert emitted == pytest.approx(v.accuracy_over_time_weighted(counts).tolist())


@pytest.mark.parametrize("seed", range(5))
def test_standalone_forgetting_and_bwt(seed: int) -> None:
    from avalanche.evaluation.metrics import BWT, Forgetting

    counts = random_counts(seed)
    forgetting, bwt = Forgetting(), BWT()
    for metric in (forgetting, bwt):
        for task in range(counts.tasks):
            metric.update(task, float(counts.accuracy[task, task]), initial=True)
            if task < counts.tasks - 1:
                metric.update(task, float(counts.accuracy[-1, task]))
    assert np.mean(list(forgetting.result().values())) == pytest.approx(v.forgetting_just_after(counts))
    assert np.mean(list(bwt.result().values())) == pytest.approx(v.backward_transfer(counts))
