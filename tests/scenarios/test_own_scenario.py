"""Streams that somebody makes from the rows of their tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios import ScenarioSpec, build_scenario, make_scenario


@pytest.fixture(scope="module")
def table() -> ImageTable:
    return load_table(DatasetSpec(name="digits", train_per_class=6, test_per_class=4), 8)


def task(table: ImageTable, *labels: int) -> tuple[str, Any, Any]:
    member = np.isin(table.labels, labels)
    return str(labels), np.flatnonzero(member & ~table.is_test), np.flatnonzero(member & table.is_test)


def test_it_is_the_stream_that_clsuite_makes_of_the_same_rows(table: ImageTable) -> None:
    theirs = build_scenario(table, ScenarioSpec(tasks=5), seed=3)
    rows = [(one.name, one.train.tolist(), one.test.tolist()) for one in theirs.tasks]
    ours = make_scenario("class_incremental", table, rows)
    assert [one.classes for one in ours.tasks] == [one.classes for one in theirs.tasks]
    assert [sorted(ours.classes[label] for label in one.classes) for one in ours.tasks] == [
        sorted(theirs.classes[label] for label in one.classes) for one in theirs.tasks
    ]


def test_classes_are_numbered_by_their_first_appearance(table: ImageTable) -> None:
    made = make_scenario("class_incremental", table, [task(table, 7, 3), task(table, 1)])
    assert made.classes[:3] == ("3", "7", "1")
    assert [one.classes for one in made.tasks] == [(0, 1), (2,)]
    again = make_scenario("class_incremental", table, [task(table, 7, 3), task(table, 1)])
    assert again.fingerprint == made.fingerprint
    other = make_scenario("class_incremental", table, [task(table, 7), task(table, 3, 1)])
    assert other.fingerprint != made.fingerprint


def test_rows_may_be_held_out(table: ImageTable) -> None:
    name, train, test = task(table, 0, 1)
    made = make_scenario("class_incremental", table, [(name, train[1:], test)], [train[:1]])
    assert made.tasks[0].validation.tolist() == train[:1].tolist()
    with pytest.raises(UserError, match="a stream of 1 tasks was given validation rows of 2"):
        make_scenario("class_incremental", table, [(name, train[1:], test)], [train[:1], train[:1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, train, test: (name, train[:0], test), "has no training images"),
        (lambda name, train, test: (name, train, test[:0]), "has no test images"),
        (lambda name, train, test: (name, train, train), "tests images that it trains on"),
    ],
)
def test_tasks_that_cannot_be_learned_are_refused(change: Any, message: str, table: ImageTable) -> None:
    with pytest.raises(UserError, match=message):
        make_scenario("class_incremental", table, [change(*task(table, 0, 1))])


def test_classes_that_no_task_has_brought_are_not_tested(table: ImageTable) -> None:
    name, train, _ = task(table, 0)
    *_, test = task(table, 0, 5)
    with pytest.raises(UserError, match="tests classes that no task has brought by then"):
        make_scenario("class_incremental", table, [(name, train, test)])
    with pytest.raises(UserError, match=r"unknown kind 'incremental'\. Did you mean"):
        make_scenario("incremental", table, [task(table, 0)])
