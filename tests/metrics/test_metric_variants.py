"""Every variant against matrices worked out by hand."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from clsuite.metrics import METRICS, Counts, compute_all
from clsuite.metrics import variants as v

# Test parts of 10, 20 and 10 samples; accuracies before training, then after each task:
#            task 0  task 1  task 2
#   before     0.1     0.2     0.2
#   task 0     0.6     0.9     0.1
#   task 1     0.9     0.8     0.3
#   task 2     0.7     0.5     0.8
THREE = Counts.of([[1, 4, 2], [6, 18, 1], [9, 16, 3], [7, 10, 8]], [10, 20, 10])
# Task 0 is best in the last row: 0.5 when learned, 0.8 in the end.
BETTER = Counts.of([[0, 0], [5, 5], [8, 6]], [10, 10])
ONE = Counts.of([[1], [3]], [4])

BY_HAND = {
    "final_accuracy_macro": (0.7 + 0.5 + 0.8) / 3,
    "final_accuracy_weighted": 25 / 40,
    "average_incremental_accuracy_weighted": (6 / 10 + 25 / 30 + 25 / 40) / 3,
    "average_incremental_accuracy_macro": (0.6 + 0.85 + 2.0 / 3) / 3,
    "performance_drop": 6 / 10 - 25 / 40,
    "forgetting_max_before_last": (0.2 + 0.3) / 2,
    "forgetting_max_any_row": (0.2 + 0.3) / 2,
    "forgetting_just_after": (-0.1 + 0.3) / 2,
    "backward_transfer": (0.1 - 0.3) / 2,
    "forward_transfer": (0.7 + 0.1) / 2,
    "learning_accuracy": (0.6 + 0.8 + 0.8) / 3,
    "mtil_transfer": (0.9 + (0.1 + 0.3) / 2) / 2,
    "mtil_average": (2.2 / 3 + 2.2 / 3 + 1.2 / 3) / 3,
    "mtil_last": (0.7 + 0.5 + 0.8) / 3,
}


def test_the_table_by_hand_names_every_registered_metric() -> None:
    assert set(BY_HAND) == set(METRICS)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_three_tasks_by_hand(name: str) -> None:
    assert METRICS[name].compute(THREE) == pytest.approx(BY_HAND[name], abs=1e-12)


def test_compute_all_gives_every_metric() -> None:
    assert compute_all(THREE) == pytest.approx(BY_HAND)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("forgetting_max_before_last", -0.3),
        ("forgetting_max_any_row", 0.0),
        ("forgetting_just_after", -0.3),
        ("backward_transfer", 0.3),
        ("forward_transfer", 0.5),
    ],
)
def test_a_task_that_gets_better_later(name: str, expected: float) -> None:
    assert METRICS[name].compute(BETTER) == pytest.approx(expected, abs=1e-12)


def test_rows_before_a_part_is_learned_are_no_best_of_it() -> None:
    """Part 1 (learned in task 1) has 0.9 after task 0; since it was learned its best is 0.8."""
    counts = Counts.of([[0, 2, 0], [8, 9, 0], [8, 8, 0], [8, 6, 5]], [10, 10, 10])
    assert v.forgetting_max_any_row(counts) == pytest.approx((0.0 + 0.2) / 2)
    later = Counts.of([[0, 9], [6, 9], [5, 8], [7, 4]], [10, 10], [0, 1])
    assert v.forgetting_max_any_row(later) == pytest.approx((0.0 + 0.4) / 2)


def test_where_no_part_can_be_answered_before_it_is_learned_forward_transfer_is_a_dash() -> None:
    assert math.isnan(v.forward_transfer(Counts.of([[3, 0], [6, 0], [5, 8]], [10, 10])))
    assert v.forward_transfer(Counts.of([[3, 2], [6, 0], [5, 8]], [10, 10])) == pytest.approx(-0.2)
    assert v.forward_transfer(Counts.of([[3, 0], [6, 1], [5, 8]], [10, 10])) == pytest.approx(0.1)


def test_intransigence_takes_the_diagonal_of_joint_training_and_not_its_last_row() -> None:
    joint = Counts.of([[0, 0], [9, 0], [2, 8]], [10, 10])
    ours = Counts.of([[0, 0], [6, 0], [1, 9]], [10, 10])
    assert v.intransigence(ours, joint) == pytest.approx((0.3 - 0.1) / 2)


def test_both_final_accuracies_are_named_for_what_they_weigh() -> None:
    assert METRICS["final_accuracy_macro"].label == "final acc. (macro)"
    assert METRICS["final_accuracy_weighted"].label == "last acc. (weighted)"


DEFINED_FOR_ONE = {name for name in METRICS if "accuracy" in name} | {"mtil_average", "mtil_last"}


@pytest.mark.parametrize("name", sorted(METRICS))
def test_one_task(name: str) -> None:
    value = METRICS[name].compute(ONE)
    if name in DEFINED_FOR_ONE:
        assert value == 0.75
    else:
        assert math.isnan(value)


def test_curves_over_time_by_hand() -> None:
    assert v.accuracy_over_time_weighted(THREE) == pytest.approx([0.6, 25 / 30, 0.625])
    assert v.accuracy_over_time_macro(THREE) == pytest.approx([0.6, 0.85, 2 / 3])


def test_intransigence_by_hand() -> None:
    joint = Counts.of([[0, 0, 0], [7, 0, 0], [0, 18, 0], [0, 0, 9]], [10, 20, 10])
    assert v.intransigence(THREE, joint) == pytest.approx((0.1 + 0.1 + 0.1) / 3)
    assert v.intransigence(THREE, THREE) == 0


def test_intransigence_refuses_other_test_parts() -> None:
    joint = Counts.of(THREE.correct, [10, 20, 11])
    with pytest.raises(ValueError, match="same test parts"):
        v.intransigence(THREE, joint)


def test_only_forgetting_and_drops_are_better_when_lower() -> None:
    lower = {name for name, metric in METRICS.items() if not metric.higher_is_better}
    assert lower == {name for name in METRICS if name.startswith("forgetting")} | {"performance_drop"}


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_metric_is_the_function_of_its_name_and_says_whose_it_is(name: str) -> None:
    metric = METRICS[name]
    assert metric.compute is getattr(v, name)
    assert metric.name == name
    assert metric.source.split(";")[0].split(" ")[0] in (inspect.getdoc(metric.compute) or "")


def test_counts_give_the_matrix_and_the_row_before_training() -> None:
    assert THREE.tasks == 3
    assert THREE.initial == pytest.approx([0.1, 0.2, 0.2])
    assert THREE.accuracy == pytest.approx(np.array([[0.6, 0.9, 0.1], [0.9, 0.8, 0.3], [0.7, 0.5, 0.8]]))


def test_counts_are_equal_by_content() -> None:
    assert Counts.of(THREE.correct.tolist(), THREE.n.tolist()) == THREE
    changed = THREE.correct.copy()
    changed[2, 1] -= 1
    assert Counts.of(changed, THREE.n) != THREE
    assert Counts.of(THREE.correct, THREE.n + 1) != THREE
    assert THREE != "counts"


@pytest.mark.parametrize(
    ("correct", "n", "reason"),
    [
        ([[1, 2], [1, 2]], [4, 4], "shape"),
        ([[1, 2], [1, 2], [1, 2]], [4], "shape"),
        ([[1], [2]], [[4]], "shape"),
        ([1, 2], [4], "shape"),
        ([[0], [5]], [4], "outside"),
        ([[0], [-1]], [4], "outside"),
        ([[0], [0]], [0], "outside"),
    ],
)
def test_counts_that_cannot_be_are_refused(correct: list[list[int]], n: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Counts.of(correct, n)


def in_tenths(rows: list[list[float]]) -> Counts:
    """Counts of a matrix in percent with one decimal; its first row is repeated as the one before training."""
    return Counts.of([[round(10 * value) for value in row] for row in [rows[0], *rows]], [1000] * len(rows))


def test_three_sets_of_mtil() -> None:
    """Three of ZSCL's data sets, fine-tuned one after another: the authors' formulas, by hand."""
    counts = in_tenths([[62.6, 67.1, 43.0], [15.7, 93.4, 49.0], [24.4, 90.4, 88.8]])
    assert 100 * v.mtil_transfer(counts) == pytest.approx((67.1 + (43.0 + 49.0) / 2) / 2)
    assert 100 * v.mtil_average(counts) == pytest.approx(59.38, abs=0.005)
    assert 100 * v.mtil_last(counts) == pytest.approx(67.87, abs=0.005)


ZERO_SHOT = [24.3, 88.4, 68.2, 44.6, 54.9, 71.0, 88.5, 59.4, 89.0, 64.7, 65.2]
"""ZSCL's figures of the frozen CLIP ViT-B/16 on MTIL's data sets in order I."""


@pytest.mark.parametrize(
    ("order", "transfer"), [(range(11), 69.4), ((9, 6, 7, 8, 5, 10, 0, 1, 3, 4, 2), 65.4)], ids=["I", "II"]
)
def test_a_frozen_clip_on_mtil(order: Sequence[int], transfer: float) -> None:
    """Equal rows: Avg and Last are the mean of a row, and Transfer that of the data sets after the first."""
    counts = in_tenths([[ZERO_SHOT[place] for place in order]] * 11)
    figures = [round(100 * metric(counts), 1) for metric in (v.mtil_transfer, v.mtil_average, v.mtil_last)]
    assert figures == [transfer, 65.3, 65.3]
    assert v.forgetting_max_any_row(counts) == v.forgetting_max_before_last(counts) == 0


MATRICES = json.loads(Path(__file__).with_name("zscl_matrices.json").read_text("utf-8"))["matrices"]
"""The results that ZSCL's repository has (MIT license), with the figures that its notebook prints."""


@pytest.mark.parametrize("name", MATRICES)
def test_the_matrices_of_zscl(name: str) -> None:
    """All stored results of the authors' comparison, in both orders, give the figures of their tables."""
    rows = [[round(100 * value) for value in row] for row in MATRICES[name]["matrix"]]
    counts = Counts.of([rows[0], *rows], [10_000] * len(rows))
    figures = [100 * metric(counts) for metric in (v.mtil_transfer, v.mtil_average, v.mtil_last)]
    assert figures == pytest.approx(MATRICES[name]["figures"], abs=0.056)  # printed with one decimal
    assert len(MATRICES) == 18


def test_rows_before_learning_count_as_no_forgetting() -> None:
    """A part that was predicted best before it was learned: only rows from its own on count, in each variant."""
    counts = Counts.of([[9, 9, 9], [5, 9, 9], [5, 6, 9], [5, 6, 7]], [10, 10, 10])
    for name in ("forgetting_max_any_row", "forgetting_max_before_last", "forgetting_just_after", "backward_transfer"):
        assert METRICS[name].compute(counts) == 0
    assert v.accuracy_over_time_all(counts) == pytest.approx([2.3 / 3, 2.0 / 3, 1.8 / 3])
