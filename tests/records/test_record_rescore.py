"""Counts made again from predictions are the counts of a plain loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsuite.records import read_predictions, rescore, write_predictions


@st.composite
def predictions(draw: st.DrawFn) -> dict[str, Any]:
    """Samples of 1 to 4 tasks in any order, each task with at least one, and answers of which some are right."""
    tasks = draw(st.integers(1, 4))
    task = draw(st.permutations([*range(tasks), *draw(st.lists(st.integers(0, tasks - 1), max_size=12))]))
    answer = st.integers(-1, 4)
    row = st.lists(answer, min_size=len(task), max_size=len(task))
    rows = st.lists(row, min_size=tasks + 1, max_size=tasks + 1)
    return {
        "class_incremental": np.array(draw(rows), dtype=np.int16),
        "task_aware": np.array(draw(rows), dtype=np.int16),
        "labels": np.array(draw(st.lists(st.integers(0, 4), min_size=len(task), max_size=len(task)))),
        "task": np.array(task),
    }


def count_plainly(predictions: dict[str, Any], protocol: str) -> list[list[int]]:
    tasks = max(predictions["task"]) + 1
    counts = [[0] * tasks for _ in range(tasks + 1)]
    for stage, row in enumerate(predictions[protocol]):
        for answer, label, task in zip(row, predictions["labels"], predictions["task"], strict=True):
            counts[stage][task] += int(answer == label)
    return counts


@pytest.mark.slow
@given(predictions())
def test_rescoring_counts_right_answers(predictions: dict[str, Any]) -> None:
    counts = rescore(predictions)
    assert counts.class_incremental == count_plainly(predictions, "class_incremental")
    assert counts.task_aware == count_plainly(predictions, "task_aware")
    assert counts.n == [int((predictions["task"] == task).sum()) for task in range(max(predictions["task"]) + 1)]


def test_an_unseen_class_is_wrong(tmp_path: Any) -> None:
    arrays = {
        "class_incremental": np.array([[-1, -1], [0, -1], [0, 1]]),
        "task_aware": np.array([[0, 0], [0, 0], [0, 1]]),
        "labels": np.array([0, 1]),
        "task": np.array([0, 1]),
    }
    write_predictions(tmp_path / "p.npz", arrays)
    counts = rescore(read_predictions(tmp_path / "p.npz"))
    assert counts.of("class_incremental").accuracy.tolist() == [[1, 0], [1, 1]]
    assert counts.of("class_incremental").initial.tolist() == [0, 0]
    assert counts.of("task_aware").initial.tolist() == [1, 0]


def test_a_changed_prediction_changes_the_counts() -> None:
    arrays = {
        "class_incremental": np.array([[0, 0], [0, 0]]),
        "task_aware": np.array([[0, 0], [0, 0]]),
        "labels": np.array([0, 0]),
        "task": np.array([0, 0]),
    }
    before = rescore(arrays)
    arrays["class_incremental"][1, 1] = 3
    after = rescore(arrays)
    assert (before.class_incremental, after.class_incremental) == ([[2], [2]], [[2], [1]])
    assert after.task_aware == before.task_aware


def test_numbers_are_plain_integers() -> None:
    """Records are JSON: no NumPy numbers may get into them."""
    arrays = {name: np.zeros((2, 1), dtype=np.int16) for name in ("class_incremental", "task_aware")}
    counts = rescore({**arrays, "labels": np.zeros(1, dtype=np.int64), "task": np.zeros(1, dtype=np.int64)})
    numbers = [*counts.n, *counts.class_incremental[0], *counts.task_aware[1]]
    assert {type(number) for number in numbers} == {int}
    assert numbers == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("task", [[0, 2**40], [np.inf, 0], [0.0, 1.0], [-1, 0], []])
def test_parts_that_are_not_numbered_from_zero_are_refused(task: list[float]) -> None:
    rows = np.zeros((2, len(task)), dtype=np.int16)
    arrays = {"class_incremental": rows, "task_aware": rows, "labels": rows[0], "task": np.array(task)}
    with pytest.raises(ValueError, match="'task' must hold the part of each sample"):
        rescore(arrays)
