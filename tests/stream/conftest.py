"""Tiny real streams and learners on the digits with the bundled backbone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.backbones.vit import build_backbone
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite.stream.loop import Stream


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    """Three tasks of two digits, 12 training and some 25 test images of each digit."""
    table = load_table(DatasetSpec(name="digits"), 32)
    whole = build_scenario(table, ScenarioSpec(tasks=5, validation=0.1), seed=0, train_per_class=14)
    tasks = tuple(dataclasses.replace(task, test=task.test[::2]) for task in whole.first(3).tasks)
    return Scenario(whole.kind, table, whole.labels, whole.classes, tasks)


MakeStream = Callable[..., Stream]


@pytest.fixture
def make_stream(scenario: Scenario) -> MakeStream:
    """Makes a stream of the given plugins that is ready to run."""

    def make(*plugins: Plugin, checkpoint: Path | None = None, on: Scenario = scenario, **training: Any) -> Stream:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        spec = BackboneSpec()
        given = {"optimizer": OptimizerSpec(lr=5e-4, head_lr=3e-3), "batch_size": 8, "precision": "32", **training}
        learner = Learner(build_backbone(spec, find_weights(spec, [])), TrainingSpec(**given), plugins, seed=0)
        return Stream(learner, on, torch.device("cpu"), checkpoint_path=checkpoint, identity="test")

    return make
