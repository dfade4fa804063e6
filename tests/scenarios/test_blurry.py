"""Si-blurry: the draw of its authors' sampler, and the former one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import RandomState
from test_kinds import make_table

from clsuite.errors import UserError
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite.scenarios.blurry import _drawn, _quotas, scatter
from clsuite.scenarios.spec import Blurry

LABELS = np.arange(100).repeat(6)


def homes(seed: int, **shape: object) -> np.ndarray:
    return _drawn(np.arange(100), LABELS, Blurry.model_validate(shape), RandomState(seed)).homes


def test_blurry_classes_are_cut_at_random_as_the_authors_do() -> None:
    """Fifty of 100 classes in five tasks: ten each on average, with a standard deviation of 8.2 and 4 % without any."""
    sizes = np.array([np.bincount(homes(seed)[50:], minlength=5) for seed in range(400)])
    assert sizes.sum(axis=1).tolist() == [50] * 400
    assert sizes.mean(axis=0) == pytest.approx([10] * 5, abs=1.5)
    assert sizes.std() == pytest.approx(8.2, abs=0.5)
    assert (sizes == 0).mean() == pytest.approx(0.04, abs=0.02)


def test_the_former_draw_has_as_many_blurry_classes_in_each_task() -> None:
    for seed in range(20):
        assert np.bincount(homes(seed, sizes="blurry_equal")[50:]).tolist() == [10] * 5
        assert np.bincount(homes(seed, sizes="equal")).tolist() == [20] * 5


def build(**shape: object) -> Scenario:
    return build_scenario(make_table(20, 10), ScenarioSpec.model_validate({"kind": "blurry", **shape}), 3)


def test_the_former_draw_gives_the_streams_that_it_gave() -> None:
    assert build(sizes="blurry_equal").fingerprint == FORMER
    assert build().fingerprint != FORMER


FORMER = "b402604622d6131be054cd2a033e377591590b7e38beff8aa287679c1dc1a7b3"
"""Of the code before the authors' draw was taken over."""


@given(st.lists(st.integers(0, 60), min_size=2, max_size=6), st.floats(0, 1), st.integers(0, 99))
@settings(deadline=None)
def test_a_task_is_asked_for_what_the_cuts_say_and_gives_what_it_has(sizes: list[int], share: float, seed: int) -> None:
    spec = Blurry(tasks=len(sizes), blurry=share)
    home = np.repeat(np.arange(len(sizes)), sizes)
    quotas = _quotas(sizes, spec, RandomState(seed))
    assert quotas.sum() == int(sum(sizes) * share + 1e-9)
    assert (quotas >= 0).all()
    task = scatter(home, np.ones(len(home), dtype=np.bool_), spec, RandomState(seed))
    assert sorted(np.bincount(home, minlength=len(sizes))) == sorted(sizes)
    assert len(task) == len(home)
    assert (task != home).sum() <= quotas.sum()


def test_numbers_are_shares_to_the_last_class() -> None:
    """100 * 0.29 is 28.999... to a machine; 29 of 100 classes in one task of 29."""
    spec = Blurry(tasks=29, disjoint=0.29, sizes="equal")
    assert (np.bincount(_drawn(np.arange(100), LABELS, spec, RandomState(0)).homes[:29]) == 1).all()


def test_all_classes_stay_where_they_do_not_divide() -> None:
    scenario = build_scenario(make_table(13, 10), ScenarioSpec.model_validate({"kind": "blurry", "tasks": 5}), 0)
    assert len(scenario.classes) == 13
    assert sum(len(task.train) for task in scenario.tasks) == 130


def test_too_many_tasks_for_random_cuts_are_refused_in_one_line() -> None:
    spec = ScenarioSpec.model_validate({"kind": "blurry", "tasks": 20})
    with pytest.raises(
        UserError, match="20 classes cut at random leave a task without classes or images: ask for fewer"
    ):
        build_scenario(make_table(20), spec, 0)


@pytest.mark.parametrize("seed", range(30))
def test_every_task_has_a_class_and_images(seed: int) -> None:
    scenario = build_scenario(make_table(10, 20), ScenarioSpec.model_validate({"kind": "blurry", "blurry": 0.9}), seed)
    assert len(scenario.eval_splits) == len(scenario.tasks) == 5
    assert all(
        len(task.train) and part.classes for task, part in zip(scenario.tasks, scenario.eval_splits, strict=True)
    )
