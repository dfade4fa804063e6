"""Power-law environments, and tasks that are domains and come back."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_kinds import make_table

from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite.scenarios.recurring import power_law_shares


def build(kind: str = "power_law", domains: int = 0, **shape: Any) -> Scenario:
    table = make_table(6, 24, 6)
    if domains:
        names = tuple(f"d{index}" for index in range(domains))
        table = dataclasses.replace(table, domains=np.arange(len(table)) % domains, domain_names=names)
    return build_scenario(table, ScenarioSpec.model_validate({"kind": kind, **shape}), 1)


def test_shares_by_hand() -> None:
    """Ages 3, 2, 1 of 60 images each: 60/4, 60/3, 60/2; of 30 replayed in all, parts of 1/3, 1/2 and 1 over 11/6."""
    assert power_law_shares([60, 60, 60], 60, 1.0, None) == [15, 20, 30]
    assert power_law_shares([60, 60, 60], 60, 1.0, 0.5) == [5, 8, 16]
    assert power_law_shares([60, 60, 60], 60, 0.0, None) == [60, 60, 60]
    assert power_law_shares([4, 60], 60, 0.0, 0.5) == [4, 15]
    assert power_law_shares([], 60, 1.0, 0.5) == []


@given(st.lists(st.integers(1, 99), min_size=1, max_size=8), st.floats(0, 4), st.sampled_from([None, 0.0, 0.3, 2.0]))
def test_laws_of_the_shares(sizes: list[int], exponent: float, replayed: float | None) -> None:
    shares = power_law_shares(sizes, 50, exponent, replayed)
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    alike = power_law_shares([50] * len(sizes), 50, exponent, replayed)
    assert alike == sorted(alike)  # what is younger brings no less
    if replayed is not None:
        assert sum(alike) <= replayed * 50 + len(sizes) / 2


def test_each_task_is_whole_and_brings_shares_of_all_earlier_ones() -> None:
    scenario = build(tasks=3)
    own = [set(part.classes) for part in scenario.eval_splits]
    for task in scenario.tasks:
        labels = scenario.labels[task.train]
        numbers = [int(np.isin(labels, sorted(classes)).sum()) for classes in own]
        expected = [48, 0, 0], [24, 48, 0], [16, 24, 48]
        assert numbers == expected[task.index]
        assert len(np.unique(task.train)) == len(task.train)
    assert [part.learned for part in scenario.eval_splits] == [0, 1, 2]
    first, second = (set(task.train) & set(scenario.tasks[0].train) for task in scenario.tasks[1:])
    assert first != second  # drawn anew


def test_the_draws_follow_the_seed_and_what_comes_again_is_the_stream_s() -> None:
    assert build(tasks=3).fingerprint == build(tasks=3).fingerprint
    assert build(tasks=3).fingerprint != build(tasks=3, exponent=2.0).fingerprint
    assert build(tasks=3, order_seed=5, order="given").fingerprint != build(tasks=3, order="given").fingerprint


def test_domains_mixed_by_a_power_law() -> None:
    scenario = build(domains=3, over="domains", order="given")
    assert [task.name for task in scenario.tasks] == [part.name for part in scenario.eval_splits] == ["d0", "d1", "d2"]
    assert [part.learned for part in scenario.eval_splits] == [0, 1, 2]
    assert all(task.classes == tuple(range(6)) for task in scenario.tasks)
    domains = [np.bincount(scenario.table.domains[task.train], minlength=3).tolist() for task in scenario.tasks]
    assert domains == [[48, 0, 0], [24, 48, 0], [16, 24, 48]]
    assert len(build(domains=3, over="domains", tasks=2).tasks) == 2


def test_domains_that_come_back_one_at_a_time() -> None:
    scenario = build("recurring", domains=3, over="domains", length=7)
    names = [task.name for task in scenario.tasks]
    assert len(names) == 7
    assert set(names) == {"d0", "d1", "d2"}
    assert [part.learned for part in scenario.eval_splits] == [names.index(part.name) for part in scenario.eval_splits]
    assert (
        sorted(np.concatenate([part.test for part in scenario.eval_splits]))
        == np.flatnonzero(scenario.table.is_test).tolist()
    )


@pytest.mark.parametrize("kind", ["recurring", "power_law"])
def test_a_method_for_tasks_that_are_domains_must_learn_both_kinds(kind: str) -> None:
    shape = {"kind": kind, **({"length": 4} if kind == "recurring" else {})}
    assert ScenarioSpec.model_validate(shape).kinds == (kind,)
    assert ScenarioSpec.model_validate({**shape, "over": "domains"}).kinds == (kind, "domain_incremental")
