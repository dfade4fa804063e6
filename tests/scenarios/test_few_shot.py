"""Few-shot class-incremental streams: sessions, shots, their seeds, and what cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_kinds import make_table

from clsuite.errors import UserError
from clsuite.metrics import METRICS, Counts
from clsuite.metrics.variants import accuracy_over_time_weighted
from clsuite.plugin.compatibility import scenario_refusal
from clsuite.plugin.traits import Traits
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario


def build(seed: int = 0, **fields: Any) -> Scenario:
    spec = ScenarioSpec.model_validate({"kind": "few_shot", "base": 4, "ways": 2, "shots": 3, **fields})
    return build_scenario(make_table(train=8), spec, seed)


def test_the_base_session_has_all_images_and_later_ones_their_shots() -> None:
    scenario = build(order="given")
    assert [len(task.classes) for task in scenario.tasks] == [4, 2, 2, 2]
    assert [len(task.train) for task in scenario.tasks] == [32, 6, 6, 6]
    assert scenario.classes == scenario.table.classes
    for task in scenario.tasks:
        assert not scenario.table.is_test[task.train].any()
        assert len(set(task.train)) == len(task.train)
        counts = np.bincount(scenario.labels[task.train])[list(task.classes)]
        assert counts.tolist() == [8 if task.index == 0 else 3] * len(task.classes)
    tested = np.concatenate([task.test for task in scenario.tasks])
    assert sorted(tested) == np.flatnonzero(scenario.table.is_test).tolist()


@pytest.mark.parametrize(
    ("classes", "base", "ways", "sessions"), [(100, 60, 5, 9), (200, 100, 10, 11)], ids=["CIFAR-100", "CUB-200"]
)
def test_the_sessions_of_the_papers(classes: int, base: int, ways: int, sessions: int) -> None:
    spec = ScenarioSpec.model_validate({"kind": "few_shot", "base": base, "ways": ways, "order": "given"})
    scenario = build_scenario(make_table(classes, train=6, test=1), spec, 0)
    assert [len(task.classes) for task in scenario.tasks] == [base, *[ways] * (sessions - 1)]
    assert [len(task.train) for task in scenario.tasks[1:]] == [5 * ways] * (sessions - 1)


def test_the_seed_draws_the_shots_and_order_seed_fixes_them() -> None:
    assert build(order="given").fingerprint == build(order="given").fingerprint
    one, other = build(0, order="given"), build(1, order="given")
    assert one.tasks[0].fingerprint == other.tasks[0].fingerprint
    assert one.tasks[1].fingerprint != other.tasks[1].fingerprint
    fixed = [build(seed, order="given", order_seed=0).fingerprint for seed in range(3)]
    assert fixed == [one.fingerprint] * 3
    few, more = build(order="given", shots=2), build(order="given", shots=5)
    for smaller, larger in zip(few.tasks[1:], more.tasks[1:], strict=True):
        assert set(smaller.train) < set(larger.train)


def test_validation_images_are_not_taken_from_the_shots() -> None:
    scenario = build(validation=0.25)
    assert [len(task.train) for task in scenario.tasks] == [24, 6, 6, 6]
    assert [len(task.validation) for task in scenario.tasks] == [8, 4, 4, 4]
    assert not any(set(task.train) & set(task.validation) for task in scenario.tasks)


def test_the_order_may_be_numpys() -> None:
    np.random.seed(1993)
    expected = np.random.permutation(10)
    scenario = build(order={"numpy": 1993})
    assert scenario.classes == tuple(scenario.table.classes[label] for label in expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": 9}, "scenario.base takes 9 of 10 classes: leave at least 2 (scenario.ways)"),
        ({"base": 11}, "scenario.base takes 11 of 10 classes"),
        ({"base": 5}, "the other 5 cannot be divided into sessions of 2: change scenario.base or scenario.ways"),
        ({"shots": 9}, "scenario.shots is 9, but class '"),
        ({"shots": 7, "validation": 0.25}, "has 6 training images: ask for fewer"),
    ],
)
def test_streams_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fields", [{}, {"base": 0}, {"base": 4, "shots": 0}, {"base": 4, "tasks": 3}])
def test_fields_that_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"base|shots|tasks"):
        ScenarioSpec.model_validate({"kind": "few_shot", **fields})


def test_its_configuration_is_read_back() -> None:
    spec = ScenarioSpec.model_validate({"kind": "few_shot", "base": 60})
    assert spec.model_dump() == {
        "kind": "few_shot", "base": 60, "ways": 5, "shots": 5, "order": "seed", "order_seed": None, "validation": 0.0,
    }  # fmt: skip
    assert ScenarioSpec.model_validate(spec.model_dump()) == spec


def test_methods_of_class_incremental_streams_learn_it() -> None:
    assert scenario_refusal(Traits(scenarios=("class_incremental",)), "few_shot") == ""
    assert scenario_refusal(Traits(scenarios=("domain_incremental",)), "few_shot") == ", only domain_incremental"
    refusing = replace(Traits(), unsupported_scenarios={"few_shot": "it needs many images"})
    assert scenario_refusal(refusing, "few_shot") == ": it needs many images"


def test_the_figures_of_its_papers() -> None:
    """Accuracy after each session on all classes so far, and its drop from the first session to the last."""
    counts = Counts.of([[0, 0, 0], [48, 0, 0], [45, 6, 0], [42, 5, 3]], [60, 10, 10])
    assert accuracy_over_time_weighted(counts) == pytest.approx([0.8, 51 / 70, 50 / 80])
    assert METRICS["performance_drop"].compute(counts) == pytest.approx(0.8 - 50 / 80)
    assert not METRICS["performance_drop"].higher_is_better
