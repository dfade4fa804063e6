"""Metrics of the accuracy within tasks: by hand, and by laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsuite.metrics import WITHIN_TASK, Curves
from clsuite.metrics import within_task as w


def three_tasks() -> Curves:
    """Ten images a part; the first part falls in the second task and comes back, the second part in the third."""
    return Curves.of(
        steps=[[0, 1, 2, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4]],
        correct=[
            [[1, 0, 0], [3, 0, 0], [6, 0, 0], [10, 0, 0]],
            [[9, 0, 0], [2, 4, 0], [6, 6, 0], [8, 10, 0]],
            [[0, 0, 0], [8, 5, 0], [7, 1, 5], [7, 9, 8], [7, 6, 9]],
        ],
        n=[10, 10, 10],
        learned=[0, 1, 2],
        every=2,
    )


def test_least_accuracy_by_hand() -> None:
    """Part 0: 0.2 (task 1, step 1); part 1: 0.1; what comes before the first step does not count."""
    assert w.min_accuracy(three_tasks()) == pytest.approx((0.2 + 0.1) / 2)


def test_worst_case_by_hand() -> None:
    assert w.worst_case_accuracy(three_tasks()) == pytest.approx(1 / 3 * 0.9 + (1 - 1 / 3) * 0.15)


def test_anytime_by_hand() -> None:
    """Steps 2 and 4 of each task; the mean over the parts learned so far."""
    means = [0.6, 1.0, (0.6 + 0.6) / 2, (0.8 + 1.0) / 2, (0.7 + 0.1 + 0.5) / 3, (0.7 + 0.6 + 0.9) / 3]
    assert w.average_anytime_accuracy(three_tasks()) == pytest.approx(sum(means) / 6)


EXPOSED = [[None, 0.2, 0.6, 1.0], [0.5, 0.1, 0.4, 0.9], [0.4, 0.3, 0.3, 0.2, 0.6]]


def with_exposed(exposed: list[list[float | None]] = EXPOSED) -> Curves:
    plain = three_tasks()
    return Curves.of(plain.steps, plain.correct, plain.n, plain.learned, plain.every, exposed)


def test_area_under_the_exposed_classes_by_hand() -> None:
    """Steps 2 and 4 of each task, two steps apart; what is before and among the first steps has no part in it."""
    expected = (0.6 + 1.0 + 0.4 + 0.9 + 0.3 + 0.6) / 6
    assert w.area_under_exposed_accuracy(with_exposed()) == pytest.approx(expected)
    assert math.isnan(w.area_under_exposed_accuracy(three_tasks()))


def test_what_is_left_of_a_task_counts_as_long_as_it_lasts_and_a_task_without_steps_as_one() -> None:
    curves = Curves.of(
        [[0, 1, 3, 6, 7], [0]], [[[0, 0]] * 5, [[5, 5]]], [10, 10], [0, 1], 3, [[None, 0.1, 0.2, 0.4, 0.8], [0.5]]
    )
    assert w.area_under_exposed_accuracy(curves) == pytest.approx((3 * 0.2 + 3 * 0.4 + 0.8 + 0.5) / 8)


def test_depth_by_hand() -> None:
    """Task 1: part 0 from 1.0 to 0.2. Task 2: part 0 from 0.8 to 0.7, part 1 from 1.0 to 0.1."""
    assert w.stability_gap_depth(three_tasks()) == pytest.approx((0.8 + (0.1 + 0.9) / 2) / 2)


def test_length_by_hand() -> None:
    """Task 1: 0.95 of 0.8 only at step 4. Task 2: part 0 never lower than its end; part 1 at step 3 (0.9 >= 0.57)."""
    assert w.stability_gap_length(three_tasks()) == pytest.approx((4 + (0 + 3) / 2) / 2)


def test_what_is_forgotten_for_good_has_depth_and_no_length() -> None:
    curves = Curves.of([[0, 4], [0, 1, 4]], [[[0, 0], [9, 0]], [[9, 0], [3, 1], [0, 8]]], [10, 10], [0, 1], 4)
    assert w.stability_gap_depth(curves) == pytest.approx(0.9)
    assert w.stability_gap_length(curves) == 0.0
    assert w.min_accuracy(curves) == 0.0


def test_a_method_without_steps_has_one_point_a_task() -> None:
    curves = Curves.of([[0], [0]], [[[8, 0]], [[6, 10]]], [10, 10], [0, 1], 50)
    values = {name: metric.compute(curves) for name, metric in WITHIN_TASK.items()}
    expected = {
        "min_accuracy": 0.6,
        "worst_case_accuracy": 0.8,
        "average_anytime_accuracy": 0.8,
        "area_under_exposed_accuracy": math.nan,
        "stability_gap_depth": 0.2,
        "stability_gap_length": 0.0,
    }
    assert values == pytest.approx(expected, nan_ok=True)


def test_parts_that_are_learned_together_count_alike() -> None:
    curves = Curves.of([[0, 2], [0, 2]], [[[0] * 3, [10, 8, 0]], [[9, 9, 0], [5, 7, 6]]], [10] * 3, [0, 0, 1], 2)
    assert w.min_accuracy(curves) == pytest.approx(0.6)
    assert w.worst_case_accuracy(curves) == pytest.approx((0.5 + 0.7 + 0.6) / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [[0, 2], [2, 2]]}, "do not ascend"),
        ({"correct": [[[1, 0], [11, 0]], [[1, 1], [1, 1]]]}, "outside 0..n"),
        ({"correct": [[[1, 0]], [[1, 1], [1, 1]]]}, "needs shape"),
        ({"n": [10]}, "need the size"),
        ({"every": 0}, "below 1"),
        ({"exposed": [[0.5], [0.5, 0.5]]}, "an accuracy within 0..1 for each evaluation"),
        ({"exposed": [[0.5, 1.5], [0.5, 0.5]]}, "an accuracy within 0..1 for each evaluation"),
    ],
)
def test_curves_that_cannot_be(change: dict[str, object], message: str) -> None:
    whole = {"steps": [[0, 2]] * 2, "correct": [[[1, 1]] * 2] * 2, "n": [10, 10], "learned": [0, 1], "every": 2}
    with pytest.raises(ValueError, match=message):
        Curves.of(**{**whole, **change})  # type: ignore[arg-type]


@st.composite
def curves(draw: st.DrawFn) -> Curves:
    tasks = draw(st.integers(1, 4))
    n = draw(st.lists(st.integers(1, 20), min_size=tasks, max_size=tasks))
    steps, correct = [], []
    for task in range(tasks):
        times = sorted(draw(st.sets(st.integers(0, 20), min_size=1, max_size=6)))
        rows = [[draw(st.integers(0, most)) if part <= task else 0 for part, most in enumerate(n)] for _ in times]
        steps.append(times)
        correct.append(rows)
    return Curves.of(steps, correct, n, list(range(tasks)), draw(st.integers(1, 8)))


@given(curves())
def test_ranges(curves: Curves) -> None:
    for name, metric in WITHIN_TASK.items():
        value = metric.compute(curves)
        if name == "area_under_exposed_accuracy":
            assert math.isnan(value)  # nothing was measured
        elif curves.tasks == 1 and name not in ("worst_case_accuracy", "average_anytime_accuracy"):
            assert math.isnan(value)
        elif name == "stability_gap_length":
            assert 0 <= value <= 20
        else:
            assert (-1 if name == "stability_gap_depth" else 0) <= value <= 1


@given(curves(), st.floats(0, 1))
def test_the_area_under_a_level_line_is_its_height(curves: Curves, height: float) -> None:
    exposed = [[height] * len(steps) for steps in curves.steps]
    level = Curves.of(curves.steps, curves.correct, curves.n, curves.learned, curves.every, exposed)
    assert w.area_under_exposed_accuracy(level) == pytest.approx(height)


@given(curves())
def test_the_worst_case_is_never_above_the_end(curves: Curves) -> None:
    final = curves.accuracy(curves.tasks - 1)[-1]
    assert w.worst_case_accuracy(curves) <= final.mean() + 1e-12
    if curves.tasks > 1:
        assert w.min_accuracy(curves) <= final[:-1].mean() + 1e-12
        share = 1 / curves.tasks
        assert w.worst_case_accuracy(curves) == pytest.approx(share * final[-1] + (1 - share) * w.min_accuracy(curves))


@given(curves())
def test_what_comes_before_the_first_step_is_in_no_metric(curves: Curves) -> None:
    other = [counts.copy() for counts in curves.correct]
    for steps, counts in zip(curves.steps, other, strict=True):
        if steps[0] == 0 and len(steps) > 1:
            counts[0] = 0
    changed = Curves.of(curves.steps, other, curves.n, curves.learned, curves.every)
    for metric in WITHIN_TASK.values():
        assert metric.compute(changed) == pytest.approx(metric.compute(curves), nan_ok=True)


@given(curves(), st.integers(2, 5))
def test_shares_count_and_not_sizes(curves: Curves, factor: int) -> None:
    scaled = Curves.of(
        curves.steps, [factor * c for c in curves.correct], factor * curves.n, curves.learned, curves.every
    )
    for metric in WITHIN_TASK.values():
        assert metric.compute(scaled) == pytest.approx(metric.compute(curves), nan_ok=True)


@given(curves())
def test_level_curves_have_no_gap(curves: Curves) -> None:
    level = [np.tile(np.where(curves.learned <= task, curves.n, 0), (len(steps), 1))
             for task, steps in enumerate(curves.steps)]  # fmt: skip
    exposed = [[1.0] * len(steps) for steps in curves.steps]
    perfect = Curves.of(curves.steps, level, curves.n, curves.learned, curves.every, exposed)
    for name, metric in WITHIN_TASK.items():
        expected = 0.0 if name.startswith("stability") else 1.0
        assert curves.tasks == 1 or metric.compute(perfect) == pytest.approx(expected)
    assert w.average_anytime_accuracy(perfect) == pytest.approx(1)
