"""Laws of every stream, over random tables and parameters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite.scenarios.build import class_sizes


def make_table(classes: int, train: int, test: int, domains: int = 1, shuffle: int = 0) -> ImageTable:
    """A table with so many images of each class and domain; the rows lie in a random order."""
    per_cell = train + test
    cells = np.arange(classes * domains).repeat(per_cell)
    is_test = np.tile(np.arange(per_cell) >= train, classes * domains)
    order = np.random.RandomState(shuffle).permutation(len(cells))
    digests = np.random.RandomState(1).randint(0, 256, (len(cells), 16)).astype(np.uint8)
    return ImageTable(
        images=np.zeros((len(cells), 1, 1, 1), dtype=np.uint8),
        labels=(cells % classes)[order],
        domains=(cells // classes)[order],
        is_test=is_test[order],
        digests=digests,
        classes=tuple(f"class{label}" for label in range(classes)),
        domain_names=tuple(f"domain{domain}" for domain in range(domains)) if domains > 1 else ("",),
    )


@st.composite
def class_streams(draw: st.DrawFn) -> tuple[ImageTable, ScenarioSpec, int, Scenario]:
    classes = draw(st.integers(1, 12))
    tasks = draw(st.integers(1, classes))
    first = classes if tasks == 1 else draw(st.integers(1, classes - tasks + 1))
    table = make_table(classes, draw(st.integers(2, 6)), draw(st.integers(1, 3)), shuffle=draw(st.integers(0, 99)))
    spec = ScenarioSpec(
        tasks=tasks,
        first_task=first if draw(st.booleans()) else None,
        order=draw(st.sampled_from(["seed", "given"])),
        validation=draw(st.sampled_from([0.0, 0.1, 0.3, 0.5])),
    )
    seed = draw(st.integers(0, 1000))
    return table, spec, seed, build_scenario(table, spec, seed)


Stream = tuple[ImageTable, ScenarioSpec, int, Scenario]


@given(class_streams())
def test_classes_are_shared_out(stream: Stream) -> None:
    table, spec, _, scenario = stream
    assert len(scenario.tasks) == spec.root.tasks
    assert [label for task in scenario.tasks for label in task.classes] == list(range(len(table.classes)))
    assert sorted(scenario.classes) == sorted(table.classes)
    assert [task.index for task in scenario.tasks] == list(range(len(scenario.tasks)))


@given(class_streams())
def test_each_sample_lies_in_one_part_of_one_task(stream: Stream) -> None:
    table, _, _, scenario = stream
    training = [row for task in scenario.tasks for part in (task.train, task.validation) for row in part]
    test = [row for task in scenario.tasks for row in task.test]
    assert sorted(training) == np.flatnonzero(~table.is_test).tolist()
    assert sorted(test) == np.flatnonzero(table.is_test).tolist()


@given(class_streams())
def test_each_part_holds_the_classes_of_its_task(stream: Stream) -> None:
    table, spec, _, scenario = stream
    for task in scenario.tasks:
        for part in (task.train, task.test, *([task.validation] if spec.root.validation == 0.5 else [])):
            assert tuple(np.unique(scenario.labels[part]).tolist()) == task.classes
            assert (np.diff(part) > 0).all()
        names = {table.classes[label] for label in table.labels[task.train]}
        assert names == {scenario.classes[label] for label in task.classes}


@given(class_streams())
def test_sizes_of_tasks(stream: Stream) -> None:
    table, spec, _, scenario = stream
    sizes = [len(task.classes) for task in scenario.tasks]
    assert sizes == class_sizes(len(table.classes), spec.root.tasks or 0, spec.root.first_task)
    even = sizes if spec.root.first_task is None else sizes[1:]
    assert even == sorted(even, reverse=True)
    assert not even or even[0] - even[-1] <= 1
    if spec.root.first_task is not None:
        assert sizes[0] == spec.root.first_task


@given(class_streams())
def test_the_classes_seen_after_any_task_are_the_first_ones(stream: Stream) -> None:
    table, _, _, scenario = stream
    assert scenario.seen_classes(0) == 0
    seen: set[int] = set()
    for task in scenario.tasks:
        seen |= set(task.classes)
        assert seen == set(range(scenario.seen_classes(task.index + 1)))
    assert scenario.seen_classes(len(scenario.tasks)) == len(table.classes)


@given(class_streams())
def test_validation_is_a_share_of_each_class(stream: Stream) -> None:
    _, spec, _, scenario = stream
    for task in scenario.tasks:
        for label in task.classes:
            held = int((scenario.labels[task.validation] == label).sum())
            rest = int((scenario.labels[task.train] == label).sum())
            assert held == round(spec.root.validation * (held + rest))
            assert rest >= 1


@given(class_streams())
def test_the_same_seed_gives_the_same_stream(stream: Stream) -> None:
    table, spec, seed, scenario = stream
    again = build_scenario(table, spec, seed)
    assert again.fingerprint == scenario.fingerprint
    assert again.classes == scenario.classes
    for one, other in zip(scenario.tasks, again.tasks, strict=True):
        assert one.train.tolist() == other.train.tolist()
        assert one.validation.tolist() == other.validation.tolist()
        assert one.fingerprint == other.fingerprint


@given(class_streams(), st.integers(1, 12))
def test_a_cut_stream_is_a_prefix(stream: Stream, tasks: int) -> None:
    scenario = stream[3]
    cut = scenario.first(tasks)
    assert cut.tasks == scenario.tasks[:tasks]
    assert (cut.fingerprint == scenario.fingerprint) == (tasks >= len(scenario.tasks))


@pytest.mark.slow
@given(st.integers(1, 40), st.integers(1, 40))
def test_even_sizes(classes: int, tasks: int) -> None:
    if tasks > classes:
        with pytest.raises(UserError, match=f"tasks is {tasks}"):
            class_sizes(classes, tasks)
    else:
        sizes = class_sizes(classes, tasks)
        assert sum(sizes) == classes
        assert max(sizes) - min(sizes) <= 1


@st.composite
def domain_streams(draw: st.DrawFn) -> Stream:
    domains = draw(st.integers(2, 5))
    table = make_table(draw(st.integers(1, 4)), draw(st.integers(2, 5)), draw(st.integers(1, 3)), domains)
    spec = ScenarioSpec(
        kind="domain_incremental",
        tasks=draw(st.none() | st.integers(1, domains)),
        order=draw(st.sampled_from(["seed", "given"])),
        validation=draw(st.sampled_from([0.0, 0.5])),
    )
    seed = draw(st.integers(0, 1000))
    return table, spec, seed, build_scenario(table, spec, seed)


@given(domain_streams())
def test_a_domain_is_a_task(stream: Stream) -> None:
    table, spec, _, scenario = stream
    assert len(scenario.tasks) == (spec.root.tasks or len(table.domain_names))
    assert len({task.name for task in scenario.tasks}) == len(scenario.tasks)
    for task in scenario.tasks:
        domain = table.domain_names.index(task.name)
        here = table.domains == domain
        assert sorted([*task.train, *task.validation]) == np.flatnonzero(here & ~table.is_test).tolist()
        assert task.test.tolist() == np.flatnonzero(here & table.is_test).tolist()


@given(domain_streams())
def test_all_classes_are_seen_from_the_first_domain_on(stream: Stream) -> None:
    table, _, _, scenario = stream
    assert scenario.classes == table.classes
    assert scenario.labels.tolist() == table.labels.tolist()
    for task in scenario.tasks:
        assert task.classes == tuple(range(len(table.classes)))
        assert scenario.seen_classes(task.index + 1) == len(table.classes)
