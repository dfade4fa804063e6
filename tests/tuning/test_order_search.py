"""The search for extreme orders against made-up scores of all orders, without any run."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from clsuite_benchmarks.orders import DATA, neighbors, predicted, report

from clsuite.tuning.order_search import (
    MOST,
    OrderSearch,
    Split,
    all_splits,
    between,
    exchanged,
    exchanges_of,
    number_of_splits,
    proposals,
    split_of,
    task_of,
)

SIZES = (2, 2, 2)
BUDGET = 15


def features(seed: int, classes: int = 6) -> np.ndarray:
    values = np.random.RandomState(seed).randn(classes, 8)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def oracle(seed: int) -> tuple[np.ndarray, Callable[[Split], float]]:
    """Similarity, and a score in which a class is forgotten by later classes like it, and some classes are harder."""
    similarity = features(seed) @ features(seed).T
    ease = np.random.RandomState(100 + seed).randn(6) * 0.05

    def score(split: Split) -> float:
        tasks = task_of(split)
        later = tasks[None, :] > tasks[:, None]
        lost = (later * (0.03 + 0.15 * np.maximum(similarity, 0))).sum(axis=1)
        return float(np.mean(0.95 - lost + ease * tasks))

    return similarity, score


def searched(similarity: np.ndarray, score: Callable[[Split], float], budget: int = BUDGET) -> OrderSearch:
    starts = [split_of(np.random.RandomState(number).permutation(6).tolist(), SIZES) for number in range(3)]
    search = OrderSearch(similarity, starts, budget)
    while asked := search.ask():
        for split in asked:
            search.tell(split, score(split))
    return search


def found(search: OrderSearch) -> tuple[float, float]:
    worst, best = search.found("worst"), search.found("best")
    assert worst is not None
    assert best is not None
    return search.scores[worst], search.scores[best]


@pytest.mark.parametrize("seed", range(4))
def test_the_worst_of_90_orders_is_found_in_15(seed: int) -> None:
    similarity, score = oracle(seed)
    true = [score(split) for split in all_splits(SIZES)]
    assert max(true) - min(true) > 0.05
    search = searched(similarity, score)
    assert len(search.scores) <= BUDGET
    worst, best = found(search)
    assert worst - min(true) <= 0.01
    assert max(true) - best <= 0.25 * (max(true) - min(true))  # it has a third of the runs


def test_the_same_scores_give_the_same_search_and_a_larger_budget_goes_on() -> None:
    similarity, score = oracle(0)
    first, again, more = (searched(similarity, score, budget) for budget in (10, 10, 13))
    assert list(first.scores) == list(again.scores) == list(more.scores)[:10]
    assert len(more.scores) == 13


def test_failed_runs_cost_budget_and_are_never_the_worst() -> None:
    similarity, score = oracle(1)
    worst = min(all_splits(SIZES), key=score)
    search = searched(similarity, lambda split: math.nan if split == worst else score(split))
    assert len(search.scores) == BUDGET
    assert search.found("worst") != worst
    assert searched(similarity, lambda split: math.nan).found("worst") is None


def test_it_ends_when_every_order_was_run() -> None:
    search = OrderSearch(np.eye(3), [((0,), (1,), (2,))], 20)
    while asked := search.ask():
        for split in asked:
            search.tell(split, float(split[0][0]))
    assert set(search.scores) == {tuple((label,) for label in order) for order in permutations(range(3))}
    assert found(search) == (0.0, 2.0)


def test_proposals_are_the_extremes_of_similarity() -> None:
    similarity = features(2) @ features(2).T
    values = sorted(between(similarity, split) for split in all_splits(SIZES))
    offered = [between(similarity, split) for split in proposals(similarity, ((0, 1), (2, 3), (4, 5)))]
    assert offered == pytest.approx([values[0], values[0], values[-1], values[-1]], abs=0.02)


def test_proposals_keep_the_sizes_of_tasks() -> None:
    similarity = features(3) @ features(3).T
    for split in proposals(similarity, ((0, 1, 2), (3,), (4, 5))):
        assert [len(task) for task in split] == [3, 1, 2]
        assert sorted(label for task in split for label in task) == list(range(6))


def test_splits_are_counted_and_exchanged() -> None:
    splits = list(all_splits(SIZES))
    assert len(splits) == len(set(splits)) == number_of_splits(SIZES) == 90
    assert number_of_splits((2,) * 5) == 113_400
    assert split_of([5, 0, 3, 1, 4, 2], SIZES) == ((0, 5), (1, 3), (2, 4))
    near = {exchanged(splits[0], *exchange) for exchange in exchanges_of(splits[0])}
    assert len(near) == 15  # 3 pairs of tasks, each with 4 exchanges of classes and one of the tasks
    assert near < set(splits) - {splits[0]}


def test_of_many_orders_candidates_are_near_the_extremes() -> None:
    classes = 40
    similarity = features(4, classes) @ features(4, classes).T
    start = split_of(range(classes), (4,) * 10)
    search = OrderSearch(similarity, [start], 10)
    for split in search.ask():
        search.tell(split, between(similarity, split))
    asked = search.ask()
    assert len(asked) == 3
    near = {exchanged(split, *exchange) for split in search.scores for exchange in exchanges_of(split)}
    assert set(asked) <= near
    assert len(near) > MOST


def test_orders_whose_scores_follow_from_their_tasks_are_predicted_and_those_of_noise_are_not() -> None:
    splits = list(all_splits(SIZES))
    smooth = {split: oracle(1)[1](split) for split in splits}
    noise = dict(zip(splits, np.random.RandomState(0).randn(len(splits)), strict=True))
    assert predicted(smooth) > 0.9
    assert neighbors(smooth) > 0.3
    assert predicted(noise) < 0.1
    assert abs(neighbors(noise)) < 0.15


@pytest.mark.slow
def test_the_page_has_the_figures_of_all_orders() -> None:
    page = (DATA.parents[1] / "docs" / "order_search.md").read_text(encoding="utf-8")
    assert report(DATA) in page
