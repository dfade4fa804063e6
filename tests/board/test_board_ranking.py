"""Ranks and their intervals, also where rows have fewer seeds than others."""

from __future__ import annotations

import time

import numpy as np
import pytest

from clsuite.board.ranking import rank_rows


def spans(*scores: dict[int, float]) -> list[tuple[int, int | None, int | None]]:
    return [(one.rank, one.low, one.high) for one in rank_rows(scores)]


def of(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_what_is_better_with_every_seed_has_a_rank_of_its_own() -> None:
    assert spans(of(0.9, 0.8, 0.7), of(0.8, 0.7, 0.6), of(0.1, 0.2, 0.3)) == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]


def test_what_takes_turns_is_tied_and_equal_rows_share_a_rank() -> None:
    assert spans(of(0.9, 0.5, 0.7), of(0.5, 0.9, 0.6)) == [(1, 1, 2), (2, 1, 2)]
    assert spans(of(0.5, 0.6), of(0.6, 0.5), of(0.1, 0.1))[:2] == [(1, 1, 2), (1, 1, 2)]


def test_a_row_of_one_seed_takes_part_in_every_draw() -> None:
    """Or all below it would move up where its seed is not drawn: these are rows of Split CIFAR-100."""
    joint, finetune = {0: 0.5495}, {0: 0.0795}
    fecam, ncm = of(0.2895, 0.291, 0.291), of(0.2525, 0.25, 0.25)
    expected = [(1, None, None), (2, 2, 2), (3, 3, 3), (4, None, None)]
    assert spans(joint, fecam, ncm, finetune) == expected
    assert spans(*[{seed + 7: score for seed, score in row.items()} for row in (joint, fecam, ncm)]) == expected[:3]


def test_rows_are_compared_over_the_seeds_that_both_have() -> None:
    """The last seed is hard for all: a row without it is not better for that."""
    assert spans(of(0.8, 0.8, 0.2), of(0.7, 0.7))[0] == (2, 1, 2)  # by their means it is second
    rows = of(0.8, 0.9, 0.8, 0.5), of(0.75, 0.85, 0.75, 0.45), of(0.65, 0.75, 0.65)
    assert spans(*rows) == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]


def test_rows_without_a_common_seed_are_compared_by_their_own() -> None:
    assert spans({0: 0.9, 1: 0.8}, {2: 0.7, 3: 0.6}) == [(1, 1, 1), (2, 2, 2)]
    assert spans({0: 0.9, 1: 0.1}, {2: 0.5, 3: 0.4}) == [(1, 1, 2), (2, 1, 2)]


@pytest.mark.slow
def test_the_interval_holds_the_rank_itself() -> None:
    random = np.random.RandomState(0)
    for _ in range(20):
        rows = [{seed: random.rand() for seed in range(random.randint(1, 5))} for _ in range(6)]
        for rank, low, high in spans(*rows):
            assert low is None or high is None or 1 <= low <= rank <= high <= len(rows)


def test_thousands_of_rows_of_a_few_kinds_are_ranked_in_seconds() -> None:
    random = np.random.RandomState(0)
    rows = [{seed: random.rand() for seed in range(1 + number % 3)} for number in range(3000)]
    started = time.process_time()
    rank_rows(rows)
    assert time.process_time() - started < 20
