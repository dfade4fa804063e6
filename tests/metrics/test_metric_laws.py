"""Laws that hold for every matrix."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsuite.metrics import METRICS, Counts, compute_all
from clsuite.metrics import variants as v


@st.composite
def counts(draw: st.DrawFn, least: int = 1, equal: bool = False) -> Counts:
    tasks = draw(st.integers(least, 6))
    size = st.integers(1, 40)
    n = [draw(size)] * tasks if equal else draw(st.lists(size, min_size=tasks, max_size=tasks))
    rows = [[draw(st.integers(0, most)) for most in n] for _ in range(tasks + 1)]
    return Counts.of(rows, n)


def ahead_of_learning(counts: Counts) -> int:
    """Right answers that forward transfer is made of: before any training, and just before each part is learned."""
    later = np.flatnonzero(counts.learned > 0)
    return int(counts.correct[0, later].sum() + counts.correct[counts.learned[later], later].sum())


@given(counts())
def test_ranges(counts: Counts) -> None:
    for name, value in compute_all(counts).items():
        if "accuracy" in name or name in ("mtil_average", "mtil_last"):
            assert 0 <= value <= 1
        elif counts.tasks == 1 or (name == "forward_transfer" and not ahead_of_learning(counts)):
            assert math.isnan(value)
        else:
            assert -1 <= value <= 1


@given(counts(least=2))
def test_the_variants_of_forgetting_are_ordered(counts: Counts) -> None:
    any_row, before_last = v.forgetting_max_any_row(counts), v.forgetting_max_before_last(counts)
    assert any_row >= 0
    assert any_row >= before_last - 1e-12
    assert before_last >= v.forgetting_just_after(counts) - 1e-12


@given(counts(least=2))
def test_backward_transfer_is_minus_forgetting_just_after(counts: Counts) -> None:
    assert v.backward_transfer(counts) == -v.forgetting_just_after(counts)


@given(counts(), st.integers(2, 9))
def test_metrics_depend_on_shares_not_on_sizes(counts: Counts, factor: int) -> None:
    scaled = Counts.of(counts.correct * factor, counts.n * factor)
    assert compute_all(scaled) == pytest.approx(compute_all(counts), nan_ok=True)


@given(counts(equal=True))
def test_weighted_is_macro_for_test_parts_of_one_size(counts: Counts) -> None:
    assert v.final_accuracy_weighted(counts) == pytest.approx(v.final_accuracy_macro(counts))
    assert v.average_incremental_accuracy_weighted(counts) == pytest.approx(
        v.average_incremental_accuracy_macro(counts)
    )


@given(counts(), st.randoms(use_true_random=False))
def test_final_accuracy_does_not_depend_on_the_order_of_tasks(counts: Counts, random: np.random.RandomState) -> None:
    order = list(range(counts.tasks))
    random.shuffle(order)
    permuted = Counts.of(counts.correct[:, order], counts.n[order])
    assert v.final_accuracy_macro(permuted) == pytest.approx(v.final_accuracy_macro(counts))
    assert v.final_accuracy_weighted(permuted) == v.final_accuracy_weighted(counts)


@given(counts(least=2))
def test_only_forward_transfer_looks_at_the_row_before_training(counts: Counts) -> None:
    other = counts.correct.copy()
    other[0] = counts.n - other[0]
    before, after = compute_all(counts), compute_all(Counts.of(other, counts.n))
    moved = float((1 - 2 * counts.initial[1:]).mean())
    expected = before.pop("forward_transfer") - moved  # nan where it was or is of zeros alone
    found = after.pop("forward_transfer")
    assert found == pytest.approx(expected) or math.isnan(found) or math.isnan(expected)
    assert after == before


@given(counts(least=2))
def test_only_transfer_and_the_mean_of_all_look_above_the_diagonal(counts: Counts) -> None:
    other = counts.correct.copy()
    other[1:][np.triu_indices(counts.tasks, 1)] = 0
    before, after = compute_all(counts), compute_all(Counts.of(other, counts.n))
    for name in set(METRICS) - {"forward_transfer", "mtil_transfer", "mtil_average"}:
        assert after[name] == before[name]


@given(counts(least=2))
def test_where_nothing_is_answered_before_it_is_learned_there_is_no_forward_transfer(counts: Counts) -> None:
    other = counts.correct.copy()
    other[0] = 0
    other[1:][np.triu_indices(counts.tasks, 1)] = 0
    assert math.isnan(v.forward_transfer(Counts.of(other, counts.n)))
    other[0, -1] = 1
    assert v.forward_transfer(Counts.of(other, counts.n)) < 0


@given(counts(least=2))
def test_the_weighted_last_accuracy_does_not_depend_on_how_images_are_parted(counts: Counts) -> None:
    together = Counts.of(counts.correct.sum(axis=1, keepdims=True), [counts.n.sum()], [0])
    assert v.final_accuracy_weighted(together) == pytest.approx(v.final_accuracy_weighted(counts))


@given(counts(least=2))
def test_a_perfect_learner(counts: Counts) -> None:
    perfect = Counts.of(np.vstack([np.zeros_like(counts.n), np.tile(counts.n, (counts.tasks, 1))]), counts.n)
    for name, value in compute_all(perfect).items():
        zero = name.startswith("forgetting") or name in ("backward_transfer", "performance_drop")
        assert value == pytest.approx(0 if zero else 1)


@given(counts())
def test_the_mean_over_time_lies_between_its_stages(counts: Counts) -> None:
    curve = v.accuracy_over_time_weighted(counts)
    assert curve.min() - 1e-12 <= v.average_incremental_accuracy_weighted(counts) <= curve.max() + 1e-12
    assert curve[-1] == pytest.approx(v.final_accuracy_weighted(counts))
    assert curve[0] == counts.accuracy[0, 0]


@given(counts())
def test_intransigence_is_antisymmetric(counts: Counts) -> None:
    other = Counts.of(counts.n - counts.correct, counts.n)
    assert v.intransigence(counts, other) == pytest.approx(-v.intransigence(other, counts))
    assert v.intransigence(counts, other) == pytest.approx(v.learning_accuracy(other) - v.learning_accuracy(counts))
