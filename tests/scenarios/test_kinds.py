"""Laws of the kinds of stream: each sample where the scenario says, and the formulas of the papers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import minimize_scalar

from clsuite.data.catalog import MTIL_ORDERS
from clsuite.data.sequence import join_tables
from clsuite.data.table import ImageTable
from clsuite.errors import UserError
from clsuite.scenarios import KINDS, ScenarioSpec, build_scenario
from clsuite.scenarios.by_class import split_sizes
from clsuite.scenarios.long_tail import tail_counts
from clsuite.scenarios.recurring import power_law_visits


def make_table(classes: int = 10, train: int = 20, test: int = 4, prefix: str = "c", salt: int = 0) -> ImageTable:
    cells = np.arange(classes).repeat(train + test)
    return ImageTable(
        images=np.full((len(cells), 1, 2, 2), salt, dtype=np.uint8),
        labels=cells,
        domains=np.zeros_like(cells),
        is_test=np.tile(np.arange(train + test) >= train, classes),
        digests=np.random.RandomState(salt).randint(0, 256, (len(cells), 16)).astype(np.uint8),
        classes=tuple(f"{prefix}{label}" for label in range(classes)),
        domain_names=("",),
    )


@st.composite
def any_spec(draw: st.DrawFn) -> ScenarioSpec:
    tasks, validation = draw(st.integers(2, 5)), draw(st.sampled_from([0.0, 0.2]))
    common = {"tasks": tasks, "validation": validation, "order_seed": draw(st.sampled_from([None, 1993]))}
    own: dict[str, Any] = draw(
        st.sampled_from(
            [
                {"kind": "class_incremental"},
                {"kind": "task_incremental"},
                {"kind": "online"},
                {"kind": "recurring", "length": tasks + 6, "exponent": 1.5},
                {"kind": "power_law", "exponent": 0.5},
                {"kind": "power_law", "replayed": 0.4},
                {"kind": "blurry", "disjoint": 0.5, "blurry": 0.3},
                {"kind": "blurry", "disjoint": 0.5, "blurry": 0.3, "sizes": "blurry_equal"},
                {"kind": "blurry", "disjoint": 0.0, "blurry": 1.0, "sizes": "equal"},
                {"kind": "blurry", "disjoint": 1.0},
                {"kind": "long_tailed", "imbalance": 10, "tail": "ordered"},
            ]
        )
    )
    return ScenarioSpec.model_validate({**common, **own})


@given(any_spec(), st.integers(0, 99))
@settings(deadline=None)
def test_every_sample_is_where_the_kind_says(spec: ScenarioSpec, seed: int) -> None:
    table = make_table()
    scenario = build_scenario(table, spec, seed)
    trained = [row for task in scenario.tasks for row in (*task.train, *task.validation)]
    visits = np.bincount(np.array(trained), minlength=len(table))
    assert not visits[table.is_test].any()
    if spec.kind in ("recurring", "power_law"):
        assert visits.sum() == sum(len(task.train) + len(task.validation) for task in scenario.tasks)
        assert (visits[~table.is_test] >= 1).all()
    elif spec.kind == "long_tailed":
        assert visits.max() == 1
    else:
        assert (visits[~table.is_test] == 1).all()
    tested = np.concatenate([part.test for part in scenario.eval_splits])
    assert sorted(tested) == np.flatnonzero(table.is_test).tolist()
    assert sorted(scenario.classes) == sorted(table.classes)


@given(any_spec(), st.integers(0, 99))
@settings(deadline=None)
def test_labels_are_numbered_by_first_appearance_and_parts_learned_when_seen(spec: ScenarioSpec, seed: int) -> None:
    scenario = build_scenario(make_table(), spec, seed)
    seen: set[int] = set()
    for task in scenario.tasks:
        seen |= set(task.classes)
        assert seen == set(range(scenario.seen_classes(task.index + 1)))
        for part in scenario.eval_splits:
            assert (part.learned <= task.index) == (set(part.classes) <= seen)
    assert sorted(label for part in scenario.eval_splits for label in part.classes) == list(range(10))


@given(any_spec(), st.integers(0, 9))
@settings(deadline=None, max_examples=20)
def test_the_same_seed_gives_the_same_stream_and_the_order_seed_fixes_the_order(spec: ScenarioSpec, seed: int) -> None:
    one, again, other = (build_scenario(make_table(), spec, value) for value in (seed, seed, seed + 1))
    assert one.fingerprint == again.fingerprint
    assert one.first(2).fingerprint == again.first(2).fingerprint
    if spec.root.order_seed == 1993:  # type: ignore[union-attr]
        assert one.classes == other.classes
        if spec.root.validation == 0:  # type: ignore[union-attr]
            assert one.fingerprint == other.fingerprint


ELSEWHERE = """
import sys
sys.path.insert(0, {folder!r})
from test_kinds import SHAPES, make_table
from clsuite.scenarios import ScenarioSpec, build_scenario
for shape in SHAPES:
    print(build_scenario(make_table(), ScenarioSpec.model_validate(shape), 3).fingerprint)
"""
SHAPES: list[Any] = [
    "B4-inc3",
    {"kind": "recurring", "tasks": 5, "length": 9},
    {"kind": "power_law", "tasks": 5},
    {"kind": "blurry"},
    {"kind": "blurry", "sizes": "blurry_equal"},
    {"kind": "long_tailed", "tasks": 5},
]


@pytest.mark.slow
def test_another_process_builds_the_same_streams() -> None:
    here = [build_scenario(make_table(), ScenarioSpec.model_validate(shape), 3).fingerprint for shape in SHAPES]
    code = ELSEWHERE.format(folder=str(Path(__file__).parent))
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "12", "OMP_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here
    assert len(set(here)) == len(SHAPES)


@pytest.mark.parametrize(
    ("split", "sizes"),
    [("B50-inc5", [50, *[5] * 10]), ("B0-inc10", [10] * 10), ("B0-inc30", [30, 30, 30, 10]), ("B100-inc1", [100])],
)
def test_the_short_form_of_the_sizes(split: str, sizes: list[int]) -> None:
    assert split_sizes(100, split) == sizes


def test_an_order_by_names() -> None:
    names = [f"c{i}" for i in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)]
    scenario = build_scenario(make_table(), ScenarioSpec.model_validate({"order": names, "split": "B0-inc2"}), 7)
    assert list(scenario.classes) == names
    for wrong, message in (
        (names[1:], "lacks the class 'c3'"),
        ([*names[1:], "c33"], "unknown class .* 'c33'. Did you mean 'c3'"),
        ([*names, "c3"], "'c3' twice"),
    ):
        with pytest.raises(UserError, match=message):
            build_scenario(make_table(), ScenarioSpec.model_validate({"order": wrong, "tasks": 5}), 7)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_the_recurrence_has_the_stated_exponent(exponent: float) -> None:
    """Maximum likelihood of the exponent from the gaps of all tasks at every return."""
    groups, length = 12, 6000
    visits = power_law_visits(groups, length, exponent, seed=5)
    first = {visits.index(group) for group in range(groups)}
    last, choices = {}, []
    for step, chosen in enumerate(visits):
        if step not in first:
            choices.append((step - last[chosen], np.array([step - value for value in last.values()])))
        last[chosen] = step

    def loss(power: float) -> float:
        return float(sum(power * np.log(gap) + np.log((gaps**-power).sum()) for gap, gaps in choices))

    fitted = minimize_scalar(loss, bounds=(0, 4), method="bounded").x
    assert fitted == pytest.approx(exponent, abs=0.1)


@given(st.integers(1, 600), st.integers(1, 50), st.sampled_from([1.0, 10.0, 100.0]))
def test_long_tail_counts_follow_the_formula(largest: int, classes: int, imbalance: float) -> None:
    counts = tail_counts(largest, classes, imbalance)
    expected = [max(1, int(largest * imbalance ** (-r / max(classes - 1, 1)) + 1e-9)) for r in range(classes)]
    assert counts.tolist() == expected
    assert counts[0] == largest


@pytest.mark.parametrize("tail", ["ordered", "shuffled"])
def test_a_long_tailed_stream_has_the_counts_of_the_formula(tail: str) -> None:
    spec = ScenarioSpec.model_validate({"kind": "long_tailed", "tasks": 5, "imbalance": 10, "tail": tail})
    scenario = build_scenario(make_table(train=50), spec, 0)
    rows = np.concatenate([task.train for task in scenario.tasks])
    counts = np.bincount(scenario.labels[rows])
    assert sorted(counts, reverse=True) == tail_counts(50, 10, 10).tolist()
    assert (counts.tolist() == sorted(counts, reverse=True)) == (tail == "ordered")


@pytest.mark.parametrize("sizes", ["random", "blurry_equal", "equal"])
@pytest.mark.parametrize("seed", range(4))
def test_si_blurry_ratios(sizes: str, seed: int) -> None:
    shape = {"kind": "blurry", "tasks": 5, "disjoint": 0.5, "blurry": 0.1, "sizes": sizes}
    scenario = build_scenario(make_table(20, 100), ScenarioSpec.model_validate(shape), seed)
    home = {label: part.index for part in scenario.eval_splits for label in part.classes}
    away = {label: 0 for label in home}
    for task in scenario.tasks:
        for label in scenario.labels[task.train]:
            away[int(label)] += home[int(label)] != task.index
    scattered = sum(away.values())
    assert sum(1 for number in away.values() if number == 0) >= 10
    assert (0 if sizes == "random" else 0.02 * 1000) < scattered <= 0.1 * 1000
    if sizes == "equal":
        assert [len(task.train) for task in scenario.tasks] == [400] * 5
        assert scattered == pytest.approx(0.8 * 100, abs=20)  # one in five comes home again


def test_data_sets_in_sequence_keep_all_classes_apart() -> None:
    one, two = make_table(3, prefix="c"), make_table(4, prefix="c", salt=7)
    color = ImageTable(**{**vars(two), "images": np.repeat(two.images, 3, axis=1)})
    table = join_tables([one, color], ["a", "b"])
    assert table.classes == ("a/c0", "a/c1", "a/c2", "b/c0", "b/c1", "b/c2", "c3")
    assert table.images.shape == (len(one) + len(two), 3, 2, 2)
    assert (table.images[: len(one)] == 0).all()
    assert (table.images[len(one) :] == 7).all()
    scenario = build_scenario(table, ScenarioSpec.model_validate({"kind": "cross_domain", "order": ["b", "a"]}), 0)
    assert [(task.name, task.classes) for task in scenario.tasks] == [("b", (0, 1, 2, 3)), ("a", (4, 5, 6))]
    with pytest.raises(UserError, match="needs several data sets"):
        build_scenario(one, ScenarioSpec.model_validate("cross_domain"), 0)


def test_mtil_orders_hold_the_same_eleven_data_sets() -> None:
    one, two = MTIL_ORDERS["mtil_i"], MTIL_ORDERS["mtil_ii"]
    assert len(set(one)) == 11
    assert set(one) == set(two)
    assert (one[0], one[-1], two[0], two[-1]) == ("fgvc_aircraft", "sun397", "stanford_cars", "cifar100")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "recuring"}, "unknown kind of scenario 'recuring'. Did you mean 'recurring'"),
        ("B50-5", "unknown kind of scenario 'B50-5'"),
        ({"kind": "blurry", "length": 3}, "length"),
        ({"kind": "recurring", "tasks": 3}, "length"),
        ({"kind": "power_law", "over": "domains", "split": "B5-inc1"}, "divide classes"),
        ({"kind": "power_law", "length": 3}, "length"),
        ({"split": "B5-inc1", "tasks": 3}, "either split, or tasks"),
        ({"kind": "avalanche"}, "path"),
        (5, "write a mapping"),
    ],
)
def test_specifications_that_cannot_be(wrong: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScenarioSpec.model_validate(wrong)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("B11-inc1", "split is B11-inc1, but the data set has only 10 classes"),
        ({"kind": "recurring", "tasks": 5, "length": 4}, "length is 4, but 5 tasks must occur"),
        ({"kind": "blurry", "tasks": 11}, "tasks is 11, but the data set has only 10 classes"),
        ({"kind": "recurring", "over": "domains", "length": 4}, "tasks that are domains need a data set with domains"),
        ({"kind": "avalanche", "path": "x.py"}, "brings its own images"),
    ],
)
def test_refusals(spec: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_scenario(make_table(), ScenarioSpec.model_validate(spec), 0)


def test_every_kind_has_a_line_and_a_model() -> None:
    needed = {"recurring": {"length": 3}, "few_shot": {"base": 5}, "avalanche": {"path": "x.py"}}
    for kind in KINDS:
        assert ScenarioSpec.model_validate({"kind": kind, **needed.get(kind, {})}).kind == kind
