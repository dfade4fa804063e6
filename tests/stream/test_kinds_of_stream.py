"""Every kind of stream learned for real, interrupted and resumed, and what the methods make of tasks that come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_digits import few_digits

from clsuite.data.sequence import join_tables
from clsuite.errors import UserError
from clsuite.metrics import Counts, compute_all
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, load_class
from clsuite.plugin.compatibility import check_method
from clsuite.records import rescore
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario

KINDS: dict[str, Any] = {
    "task_incremental": {"tasks": 3},
    "cross_domain": {},
    "recurring": {"tasks": 3, "length": 6},
    "power_law": {"tasks": 3},
    "long_tailed": {"tasks": 3, "imbalance": 3},
    "few_shot": {"base": 4, "ways": 3, "shots": 4},
    "blurry": {"tasks": 3, "blurry": 0.3},
    "online": {"tasks": 3},
}


def make_scenario(kind: str, seed: int = 1) -> Scenario:
    table = few_digits()
    if kind == "cross_domain":
        table = join_tables([table, table], ["first", "second"])
    return build_scenario(table, ScenarioSpec.model_validate({"kind": kind, **KINDS[kind]}), seed, 6)


class _Stop(Plugin):
    def on_task_start(self, learner: Any, task: Any) -> None:
        if task.index == 1:
            raise KeyboardInterrupt


QUICK = ("cross_domain", "blurry")
"""Kinds on which fine-tuning too learns by default; continuous integration has the others too."""
LEARNED = [
    *(pytest.param("ncm", kind) for kind in sorted(KINDS)),
    *(pytest.param("finetune", kind, marks=() if kind in QUICK else pytest.mark.nightly) for kind in sorted(KINDS)),
]


@pytest.mark.parametrize(("method", "kind"), LEARNED)
def test_learned_and_resumed(kind: str, method: str, make_stream: Any, tmp_path: Path) -> None:
    scenario = make_scenario(kind)
    whole = make_stream(load_class(catalog()[method])(), on=scenario)
    whole.run()
    counts = whole.matrix.counts()
    assert np.array(counts.class_incremental).shape == (len(scenario.tasks) + 1, len(scenario.eval_splits))
    assert sum(counts.n) == len(np.unique(np.concatenate([part.test for part in scenario.eval_splits])))
    assert whole.learner.head.classes == len(scenario.classes)
    assert rescore(whole.matrix.arrays()) == counts
    values = compute_all(counts.of("class_incremental"))
    assert all(np.isfinite(value) for name, value in values.items() if name != "forward_transfer")
    first = make_stream(load_class(catalog()[method])(), on=scenario, checkpoint=tmp_path / "c")
    stopper = _Stop()
    first.learner.plugins = (*first.learner.plugins, stopper)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = make_stream(load_class(catalog()[method])(), on=scenario, checkpoint=tmp_path / "c")
    second.learner.plugins = (*second.learner.plugins, Plugin())
    second.run()
    assert second.matrix.counts() == counts


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        *(pytest.param(name, marks=pytest.mark.nightly) for name in ("joint", "lwf")),
        "replay",
        "ewc",
        "ncm",
        "linear_probe",
    ],
)
def test_methods_learn_tasks_that_come_back(method: str, make_stream: Any) -> None:
    scenario = make_scenario("recurring")
    plugin = load_class(catalog()[method])()
    rows: list[int] = []
    stream = make_stream(plugin, on=scenario, epochs=2)
    inner = plugin.select_indices
    plugin.select_indices = lambda *given: rows.append(inner(*given)) or rows[-1]  # type: ignore[func-returns-value]
    stream.run()
    counts = stream.matrix.counts().of("class_incremental")
    assert counts.just_learned.mean() > 0.3
    if method == "joint":
        everything = np.unique(np.concatenate([task.train for task in scenario.tasks]))
        assert sorted(rows[-1]) == everything.tolist()  # type: ignore[arg-type]
    if method == "replay":
        kept = plugin.buffer.indices
        assert len(torch.unique(kept)) == len(kept)


def test_class_means_do_not_depend_on_how_often_a_task_came_back(make_stream: Any) -> None:
    scenario = make_scenario("recurring")
    stream = make_stream(load_class(catalog()["ncm"])(), on=scenario)
    stream.run()
    counts = np.array(stream.matrix.counts().class_incremental)
    last = max(part.learned for part in scenario.eval_splits)
    assert (counts[last + 1 :] == counts[-1]).all()


@pytest.mark.parametrize("method", ["joint", "lwf", "ewc", "aper", "moder"])
@pytest.mark.parametrize("kind", ["online", "blurry"])
def test_methods_that_look_twice_are_refused_where_images_pass_once(method: str, kind: str) -> None:
    source = catalog()[method].source
    assert source is not None
    with pytest.raises(UserError, match=f"plugin '{method}' cannot learn {kind} streams: .*pass"):
        check_method([(method, source)], kind)


def test_several_epochs_are_refused_where_images_pass_once(make_stream: Any) -> None:
    stream = make_stream(load_class(catalog()["finetune"])(), on=make_scenario("online"), epochs=2)
    with pytest.raises(UserError, match=r"training\.epochs is 2, but a stream of kind 'online' passes once"):
        stream.run()


class _Batches(Plugin):
    """Notes the rows of every training batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[int]] = []

    def transform_batch(self, learner: Any, batch: Any) -> Any:
        self.rows.append(batch.indices.tolist())
        return batch


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["online", "blurry"])
def test_each_batch_is_taken_several_times_in_a_row_and_never_again(kind: str, make_stream: Any) -> None:
    spec = ScenarioSpec.model_validate({"kind": kind, **KINDS[kind], "repeats": 3})
    scenario = build_scenario(few_digits(), spec, 1, 6)
    noted = _Batches()
    stream = make_stream(load_class(catalog()["finetune"])(), noted, on=scenario)
    stream.run()
    rows = noted.rows
    assert rows[0::3] == rows[1::3] == rows[2::3]
    once = sorted(row for batch in rows[0::3] for row in batch)
    assert once == sorted(row for task in scenario.tasks for row in task.train)
    assert sum(task.steps for task in stream.tasks) == len(rows)
    assert sum(task.gradient_samples for task in stream.tasks) == 3 * len(once)
    assert scenario.first(2).batch_repeats == 3


def test_metrics_by_hand_where_parts_are_not_tasks() -> None:
    """Three tasks, two parts; part 1 is learned in task 1, and both are met again."""
    counts = Counts.of([[1, 2], [6, 0], [5, 8], [7, 4]], [10, 10], [0, 1])
    values = compute_all(counts)
    assert values["learning_accuracy"] == pytest.approx((0.6 + 0.8) / 2)
    assert values["average_incremental_accuracy_macro"] == pytest.approx((0.6 + 0.65 + 0.55) / 3)
    assert values["average_incremental_accuracy_weighted"] == pytest.approx((0.6 + 0.65 + 0.55) / 3)
    assert values["forgetting_max_before_last"] == pytest.approx((-0.1 + 0.4) / 2)
    assert values["forgetting_max_any_row"] == pytest.approx((0.0 + 0.4) / 2)
    assert values["forgetting_just_after"] == pytest.approx((-0.1 + 0.4) / 2)
    assert values["forward_transfer"] == pytest.approx(0.0 - 0.2)
    assert values["mtil_transfer"] == pytest.approx(0.0)
    with pytest.raises(ValueError, match="learned after a task outside"):
        Counts.of([[1, 2], [6, 0]], [10, 10], [0, 1])
