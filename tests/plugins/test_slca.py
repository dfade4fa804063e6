"""SLCA: two rates, and a head aligned on drawn features."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

import clsuite
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.runner.training import resolve_training
from clsuite.scenarios import Scenario, Task
from clsuite_plugins.slca import SLCA


def test_the_backbone_gets_the_slow_rate_and_the_newest_classes_the_fast_one(make_stream: Any) -> None:
    stream = make_stream(SLCA(samples=8))
    stream.run()
    slow, fast = stream.learner.plugins[0].parameter_groups(stream.learner)
    assert (slow["lr"], fast["lr"]) == (1e-4, 1e-2)
    newest = stream.learner.head.newest_parameters()
    assert {id(value) for value in fast["params"]} == {id(value) for value in newest}
    assert {id(value) for value in slow["params"]} == {id(value) for value in stream.learner.backbone.parameters()}


def test_the_statistics_are_those_of_the_features_at_the_end_of_the_task(make_stream: Any, scenario: Scenario) -> None:
    plugin = SLCA(samples=8)
    stream = make_stream(plugin)
    stream.run()
    last = scenario.tasks[2]
    features = stream.learner.features_of(last.train).double().numpy()
    labels = scenario.labels[last.train]
    for label in last.classes:
        own = features[labels == label]
        np.testing.assert_allclose(plugin.state_dict()["_gaussians"]["means"][label], own.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(plugin.state_dict()["_gaussians"]["spreads"][label], np.cov(own.T), atol=1e-4)


class Rates(Plugin):
    """Notes the rates of the backbone and of the head as each epoch begins."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, ...]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, learner: Learner) -> None:
        self.seen.append(tuple(group["lr"] for group in trainer.optimizers[0].param_groups))


@pytest.mark.parametrize(
    ("tasks", "milestone", "schedule", "factors"),
    [
        (3, 0.8, "constant", [1, 1, 1, 1, 0.1]),
        (1, 0.7, "constant", [1, 1, 1, 1, 0.1]),
        (1, 0.6, "constant", [1, 1, 1, 0.1, 0.1]),
        (1, None, "constant", [1, 1, 1, 1, 1]),
        (1, 0.8, "quarter_cosine", [math.cos(0.495 * math.pi * epoch / 4) for epoch in range(5)]),
    ],
)
def test_near_the_end_of_a_task_the_rates_are_a_tenth_unless_the_benchmark_has_a_schedule(
    tasks: int, milestone: float | None, schedule: str, factors: list[float], make_stream: Any, scenario: Scenario
) -> None:
    rates, on = Rates(), scenario.first(tasks)
    make_stream(SLCA(samples=8, milestone=milestone), rates, on=on, epochs=5, schedule=schedule).run()
    assert rates.seen == [pytest.approx((1e-4 * factor, 1e-2 * factor)) for factor in factors * tasks]


class Watched(SLCA):
    """Keeps the head as it was trained, as it answered, and as the next task begins with it."""

    def __init__(self) -> None:
        super().__init__(samples=8)
        self.trained: list[list[torch.Tensor]] = []
        self.answering: list[list[torch.Tensor]] = []
        self.begun: list[list[torch.Tensor]] = []

    def on_task_end(self, learner: Learner, task: Task) -> None:
        self.trained.append(copy_of(learner))
        super().on_task_end(learner, task)
        self.answering.append(copy_of(learner))

    def on_task_start(self, learner: Learner, task: Task) -> None:
        self.begun.append(copy_of(learner))


def copy_of(learner: Learner) -> list[torch.Tensor]:
    return [value.detach().clone() for value in learner.head.parameters()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> list[bool]:
    return [torch.equal(one, other) for one, other in zip(first, second, strict=False)]


def test_the_aligned_head_answers_and_the_trained_one_goes_on_with_its_old_classes_at_rest(make_stream: Any) -> None:
    plugin = Watched()
    make_stream(plugin, loss="local").run()
    assert all(same(plugin.trained[0], plugin.answering[0]))  # one task: nothing to align
    for task in (1, 2):
        assert not any(same(plugin.trained[task], plugin.answering[task]))
        assert all(same(plugin.trained[task - 1], plugin.begun[task]))
        assert all(same(plugin.begun[task], plugin.trained[task])[: 2 * task])
        assert not any(same(plugin.begun[task], plugin.trained[task])[2 * task :])


class Unaligned(SLCA):
    def _align(self, learner: Any) -> None:
        pass


@pytest.mark.slow
def test_alignment_is_what_makes_old_and_new_classes_comparable(make_stream: Any) -> None:
    training = {"epochs": 3, "loss": "local", "optimizer": OptimizerSpec(name="sgd")}
    streams = [make_stream(plugin, **training) for plugin in (Unaligned(), SLCA(samples=64))]
    for stream in streams:
        stream.run()
    finals = [stream.matrix.counts().of("class_incremental").accuracy[-1].mean() for stream in streams]
    assert finals[1] > finals[0] + 0.1, finals


def test_it_brings_its_training() -> None:
    """Named bare, on a benchmark that trains otherwise, it is trained as in its paper."""
    source = find_plugin("slca")[1]
    base = TrainingSpec(optimizer=OptimizerSpec(name="adamw", lr=5e-4), loss="global", head="cosine")
    training = resolve_training(base, [("slca", source)], {}, {})
    optimizer = training.optimizer
    assert (training.loss, training.head, training.head_init, training.head_classes) == (
        "local",
        "linear",
        0.02,
        "seen",
    )
    assert (optimizer.name, optimizer.momentum, optimizer.weight_decay) == ("sgd", 0.9, 5e-4)


def test_a_head_that_does_not_grow_is_refused(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"slca: training\.head_classes must be seen"):
        make_stream(SLCA(), head_classes="stream").run()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UserError, match=r"lr is 0\.0, but must be above 0"):
        SLCA(lr=0.0)
    with pytest.raises(UserError, match=r"weight_decay is -1\.0, but must be at least 0"):
        SLCA(weight_decay=-1.0)


@pytest.mark.nightly
def test_named_bare_on_the_quickstart_it_is_slca(tmp_path: Path) -> None:
    """One epoch of the benchmark, whose AdamW and global loss give 37.6 %."""
    result = clsuite.run("quickstart", [SLCA], name="bare", out=tmp_path, progress=False)
    assert result.record.config["training"]["loss"] == "local"
    assert result.matrix[-1].mean() > 0.93
