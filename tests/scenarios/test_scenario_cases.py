"""Streams by example: orders, fingerprints, other processes, and refusals with the numbers in them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios import ScenarioSpec, build_scenario
from clsuite.scenarios.scenario import fingerprint_parts

MAKE_TABLE = """
import numpy as np
from clsuite.data.table import ImageTable

def make_table(domains=1):
    cells = np.arange(10 * domains).repeat(6)
    return ImageTable(
        images=np.zeros((len(cells), 1, 1, 1), dtype=np.uint8),
        labels=cells % 10,
        domains=cells // 10,
        is_test=np.arange(len(cells)) % 6 >= 4,
        digests=np.arange(16 * len(cells)).astype(np.uint8).reshape(-1, 16),
        classes=tuple("abcdefghij"),
        domain_names=tuple("xyz"[:domains]) if domains > 1 else ("",),
    )
"""
_space: dict[str, object] = {}
exec(MAKE_TABLE, _space)


def make_table(domains: int = 1) -> ImageTable:
    """10 classes, of each 4 training and 2 test images in each domain."""
    table = _space["make_table"](domains)  # type: ignore[operator]
    assert isinstance(table, ImageTable)
    return table


SPEC = ScenarioSpec(tasks=5, validation=0.25)

ELSEWHERE = (
    MAKE_TABLE
    + """
from clsuite.scenarios import ScenarioSpec, build_scenario
for seed in range(3):
    print(build_scenario(make_table(), ScenarioSpec(tasks=5, validation=0.25), seed).fingerprint)
    print(build_scenario(make_table(3), ScenarioSpec(kind="domain_incremental"), seed).fingerprint)
"""
)


def test_another_process_builds_the_same_streams() -> None:
    here = []
    for seed in range(3):
        here.append(build_scenario(make_table(), SPEC, seed).fingerprint)
        here.append(build_scenario(make_table(3), ScenarioSpec(kind="domain_incremental"), seed).fingerprint)
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    there = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], env=environment, capture_output=True, text=True, check=True
    )
    assert there.stdout.split() == here
    assert len(set(here)) == 6


def test_the_class_order_is_for_good() -> None:
    """Published numbers rest on it."""
    assert "".join(build_scenario(make_table(), SPEC, 0).classes) == "cjhbgidefa"
    assert "".join(build_scenario(make_table(), SPEC, 1).classes) == "deafhcigjb"


def test_other_seeds_give_other_orders() -> None:
    orders = {build_scenario(make_table(), SPEC, seed).classes for seed in range(10)}
    assert len(orders) == 10
    assert all(sorted(order) == list("abcdefghij") for order in orders)


def test_the_given_order_is_that_of_the_data_set_for_any_seed() -> None:
    spec = ScenarioSpec(tasks=5, order="given")
    scenarios = [build_scenario(make_table(), spec, seed) for seed in range(3)]
    assert {scenario.classes for scenario in scenarios} == {tuple("abcdefghij")}
    assert len({scenario.fingerprint for scenario in scenarios}) == 1
    assert [task.name for task in scenarios[0].tasks] == ["a, b", "c, d", "e, f", "g, h", "i, j"]


def test_the_seed_moves_the_validation_part_but_never_the_test_part() -> None:
    spec = ScenarioSpec(tasks=5, order="given", validation=0.25)
    one, other = (build_scenario(make_table(), spec, seed) for seed in (0, 1))
    assert [task.validation.tolist() for task in one.tasks] != [task.validation.tolist() for task in other.tasks]
    assert [task.test.tolist() for task in one.tasks] == [task.test.tolist() for task in other.tasks]


def test_stream_labels_follow_the_first_appearance() -> None:
    table = make_table()
    scenario = build_scenario(table, SPEC, 3)
    names = [scenario.classes[label] for label in scenario.labels]
    assert names == [table.classes[label] for label in table.labels]


def test_as_many_tasks_as_classes_by_default() -> None:
    assert [len(task.classes) for task in build_scenario(make_table(), ScenarioSpec(), 0).tasks] == [1] * 10


@pytest.mark.parametrize(
    ("tasks", "first", "sizes"),
    [
        (3, None, [4, 3, 3]),
        (1, None, [10]),
        (3, 5, [5, 3, 2]),
        (6, 5, [5, 1, 1, 1, 1, 1]),
        (2, 9, [9, 1]),
        (1, 10, [10]),
        (2, 1, [1, 9]),
    ],
)
def test_sizes_by_hand(tasks: int, first: int | None, sizes: list[int]) -> None:
    scenario = build_scenario(make_table(), ScenarioSpec(tasks=tasks, first_task=first), 0)
    assert [len(task.classes) for task in scenario.tasks] == sizes


@pytest.mark.parametrize("kind", ["class_incremental", "task_incremental", "online", "long_tailed"])
def test_a_different_number_of_classes_in_each_task(kind: str) -> None:
    spec = ScenarioSpec.model_validate({"kind": kind, "tasks": [5, 1, 4], "order": "given"})
    scenario = build_scenario(make_table(), spec, 0)
    assert [len(task.classes) for task in scenario.tasks] == [5, 1, 4]
    assert scenario.tasks[1].name == "f"
    assert ScenarioSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tasks": [5, 4]}, "scenario.tasks lists 9 classes in 2 tasks, but the data set has 10: their sum must be"),
        ({"tasks": [5, 5, 5]}, "lists 15 classes in 3 tasks, but the data set has 10"),
        ({"tasks": [5, 5], "first_task": 5}, "tasks lists the classes of each task, including the first"),
        ({"tasks": [5, 5], "split": "B0-inc5"}, "split determines all sizes"),
        ({"tasks": []}, "a list has the number of classes of each task"),
        ({"tasks": [5, "x"]}, r"each at least one; not \[5, 'x'\]"),
        ({"tasks": [5, True]}, "each at least one"),
        ({"tasks": [10, 0]}, "each at least one"),
        ({"tasks": [9**999]}, "each at least one"),
        ({"tasks": "ten"}, "Input should be a valid integer"),
        ({"tasks": True}, "Input should be a valid integer"),
        ({"tasks": 0}, "greater than or equal to 1"),
        ({"kind": "recurring", "length": 4, "over": "domains", "tasks": [1, 2]}, "a list of tasks divides classes"),
    ],
)
def test_numbers_of_classes_that_cannot_be(wrong: dict[str, object], message: str) -> None:
    with pytest.raises((UserError, ValidationError), match=message):
        build_scenario(make_table(), ScenarioSpec.model_validate(wrong), 0)


def test_long_tasks_have_short_names() -> None:
    spec = ScenarioSpec(tasks=2, first_task=6, order="given")
    assert [task.name for task in build_scenario(make_table(), spec, 0).tasks] == ["a … f (6)", "g, h, i, j"]


def test_the_fingerprint_sees_every_sample_label_and_part() -> None:
    table = make_table()
    digests = table.digests.copy()
    digests[7, 3] ^= 1
    labels = table.labels.copy()
    labels[[0, 6]] = labels[[6, 0]]
    is_test = ~table.is_test
    base = build_scenario(table, SPEC, 0)
    others = [
        build_scenario(replace(table, digests=digests), SPEC, 0),
        build_scenario(replace(table, labels=labels), SPEC, 0),
        build_scenario(replace(table, is_test=is_test), SPEC, 0),
        build_scenario(table, ScenarioSpec(tasks=5, validation=0.5), 0),
        build_scenario(table, ScenarioSpec(tasks=10, validation=0.25), 0),
        build_scenario(table, SPEC, 1),
        build_scenario(table, SPEC, 0, train_per_class=3),
    ]
    assert len({scenario.fingerprint for scenario in (base, *others)}) == 8


def test_the_fingerprint_of_a_task_sees_only_that_task() -> None:
    table = make_table()
    base = build_scenario(table, SPEC, 0)
    digests = table.digests.copy()
    digests[base.tasks[2].test[0]] ^= 1
    other = build_scenario(replace(table, digests=digests), SPEC, 0)
    same = [one.fingerprint == two.fingerprint for one, two in zip(base.tasks, other.tasks, strict=True)]
    assert same == [True, True, False, True, True]


def test_the_fingerprint_of_parts_by_its_ingredients() -> None:
    table, rows = make_table(), np.arange(6)
    base = fingerprint_parts(table, table.labels, (rows[:3], rows[3:]))
    assert fingerprint_parts(table, table.labels, (rows[:3], rows[3:])) == base
    assert fingerprint_parts(table, table.labels + 1, (rows[:3], rows[3:])) != base
    assert fingerprint_parts(table, table.labels, (rows[:2], rows[2:])) != base
    assert fingerprint_parts(table, table.labels, (rows[3:], rows[:3])) != base
    nothing = rows[:0]
    assert fingerprint_parts(table, table.labels, (rows, nothing)) != fingerprint_parts(
        table, table.labels, (nothing, rows)
    )
    assert fingerprint_parts(table, table.labels, (rows[[1, 0, 2]], rows[3:])) != base


def test_pixels_have_no_part_in_the_fingerprint() -> None:
    """The same files at another image size are the same samples."""
    table = make_table()
    larger = replace(table, images=np.ones((len(table), 3, 4, 4), dtype=np.uint8))
    assert build_scenario(larger, SPEC, 0).fingerprint == build_scenario(table, SPEC, 0).fingerprint


def test_a_bound_on_the_training_images() -> None:
    scenario = build_scenario(make_table(), ScenarioSpec(tasks=5), 0, train_per_class=2)
    assert [len(task.train) for task in scenario.tasks] == [4] * 5
    assert [len(task.test) for task in scenario.tasks] == [4] * 5


def test_the_validation_part_never_takes_the_last_image_of_a_class() -> None:
    spec = ScenarioSpec(tasks=5, validation=0.9)
    scenario = build_scenario(make_table(), spec, 0, train_per_class=1)
    assert [len(task.classes) for task in scenario.tasks] == [2] * 5
    assert [len(task.train) for task in scenario.tasks] == [2] * 5


def test_domains_in_the_order_of_the_seed() -> None:
    spec = ScenarioSpec(kind="domain_incremental")
    orders = {tuple(task.name for task in build_scenario(make_table(3), spec, seed).tasks) for seed in range(20)}
    assert len(orders) == 6
    given = build_scenario(make_table(3), ScenarioSpec(kind="domain_incremental", order="given"), 5)
    assert [task.name for task in given.tasks] == ["x", "y", "z"]


def test_domains_that_are_only_tested_are_parts_of_their_own() -> None:
    """CORe50's protocol: eight sessions are trained one after another, three others tested after each."""
    table = make_table(4)
    table = replace(table, is_test=np.isin(table.domains, [1, 3]), domain_names=("w", "x", "y", "z"))
    scenario = build_scenario(table, ScenarioSpec(kind="domain_incremental", order="given"), 0)
    assert [task.name for task in scenario.tasks] == ["w", "y"]
    assert [(part.name, part.learned) for part in scenario.eval_splits] == [("x", 0), ("z", 0)]
    assert [set(table.domains[part.test]) for part in scenario.eval_splits] == [{1}, {3}]
    assert [set(table.domains[task.train]) for task in scenario.tasks] == [{0}, {2}]
    assert len(scenario.first(1).eval_splits) == 2
    with pytest.raises(UserError, match="tasks is 3, but the data set has only 2 domains"):
        build_scenario(table, ScenarioSpec(kind="domain_incremental", tasks=3), 0)


def test_validation_is_held_out_of_each_class_of_each_domain() -> None:
    spec = ScenarioSpec(kind="domain_incremental", validation=0.25)
    for task in build_scenario(make_table(3), spec, 0).tasks:
        assert np.bincount(make_table(3).labels[task.validation]).tolist() == [1] * 10


def test_classes_of_all_domains_make_a_class_incremental_stream() -> None:
    scenario = build_scenario(make_table(3), ScenarioSpec(tasks=5), 0)
    assert [len(task.train) for task in scenario.tasks] == [24] * 5


@pytest.mark.parametrize(
    ("domains", "spec", "message"),
    [
        (1, {"tasks": 11}, r"scenario\.tasks is 11, but the data set has only 10 classes: ask for at most 10"),
        (1, {"tasks": 3, "first_task": 9}, r"first_task takes 9 of 10 classes; 1 cannot fill 2 more tasks"),
        (1, {"tasks": 2, "first_task": 10}, r"first_task takes 10 of 10 classes; 0 cannot fill 1 more tasks"),
        (1, {"tasks": 2, "first_task": 12}, r"first_task takes 12 of 10 classes; 0 cannot fill 1 more tasks"),
        (1, {"tasks": 1, "first_task": 12}, r"first_task takes 12 of 10 classes"),
        (1, {"tasks": 1, "first_task": 4}, r"first_task takes 4 of 10 classes; 6 cannot fill 0 more tasks"),
        (1, {"kind": "domain_incremental"}, r"needs a data set with domains"),
        (3, {"kind": "domain_incremental", "tasks": 4}, r"tasks is 4, but the data set has only 3 domains.*at most 3"),
    ],
)
def test_refusals(domains: int, spec: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_scenario(make_table(domains), ScenarioSpec.model_validate(spec), 0)


def test_a_task_without_training_images_is_named() -> None:
    with pytest.raises(UserError, match=r"task '\w, \w' has no training images"):
        build_scenario(make_table(), ScenarioSpec(tasks=5), 0, train_per_class=0)


def test_a_task_without_test_images_is_named() -> None:
    table = make_table()
    table = replace(table, is_test=table.is_test & (table.labels != 4))
    spec = ScenarioSpec(tasks=10, order="given")
    with pytest.raises(UserError, match="task 'e' has no test images"):
        build_scenario(table, spec, 0)


def test_the_first_domain_must_have_all_classes() -> None:
    table = make_table(3)
    gone = (table.domains == 0) & (table.labels == 4)
    table = replace(table, domains=np.where(gone, 1, table.domains))
    spec = ScenarioSpec(kind="domain_incremental", order="given")
    with pytest.raises(UserError, match="domain 'x' comes first but has no training images of class 'e'"):
        build_scenario(table, spec, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": 0},
        {"first_task": 0},
        {"validation": 1.0},
        {"validation": -0.1},
        {"kind": "x"},
        {"taks": 5},
        {"kind": "domain_incremental", "first_task": 2},
    ],
)
def test_specifications_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=list(wrong)[-1]):
        ScenarioSpec.model_validate(wrong)
