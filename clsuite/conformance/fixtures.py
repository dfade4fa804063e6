"""Tiny streams and learners: scikit-learn's digits on the bundled backbone, or on a small CLIP."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from clsuite.backbones.clip import build_clip
from clsuite.backbones.spec import BackboneSpec, Weights, find_weights
from clsuite.backbones.vit import Backbone, build_backbone
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.data.table import ImageTable
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.scenarios import Scenario, ScenarioSpec, Task, build_scenario
from clsuite.scenarios.scenario import Rows

CLIP = "open_clip:clip_nano"
DOMAIN_CLASSES = 4


@cache
def make_scenario(kind: str, brief: bool = False) -> Scenario:
    """Build a stream of a kind: two halves of four digits for domains, else three tasks of two digits.

    Args:
        kind: The kind.
        brief: Whether two steps per task and a few test images suffice, as for runs that only must not fail.
    """
    table = load_table(DatasetSpec(name="digits"), 32)
    if kind == "domain_incremental":
        halves = _halves(table, DOMAIN_CLASSES)
        whole = build_scenario(halves, ScenarioSpec(kind=kind), seed=0, train_per_class=4 if brief else 8)
        return _with_fewer_tests(whole, 8 if brief else 2)
    spec = ScenarioSpec(tasks=5, validation=0.1)
    whole = build_scenario(table, spec, seed=0, train_per_class=7 if brief else 14)
    return dataclasses.replace(_with_fewer_tests(whole.first(3), 12 if brief else 3), kind=kind)


def _halves(table: ImageTable, classes: int) -> ImageTable:
    """The first classes of a table, with each other image in another domain."""
    rows = np.flatnonzero(table.labels < classes)
    return dataclasses.replace(
        table,
        images=table.images[rows],
        labels=table.labels[rows],
        is_test=table.is_test[rows],
        digests=table.digests[rows],
        classes=table.classes[:classes],
        in_prompts=table.in_prompts[:classes],
        domains=np.arange(len(rows)) % 2,
        domain_names=("even", "odd"),
    )


def _with_fewer_tests(scenario: Scenario, every: int) -> Scenario:
    tasks = tuple(dataclasses.replace(task, test=task.test[::every]) for task in scenario.tasks)
    return dataclasses.replace(scenario, tasks=tasks)


def without_data(scenario: Scenario) -> Scenario:
    """A stream of the same shape with an empty table, as for a loaded model."""
    empty: Rows = np.zeros(0, dtype=np.int64)
    table = ImageTable(
        images=scenario.table.images[:0],
        labels=empty,
        domains=empty,
        is_test=empty.astype(np.bool_),
        digests=scenario.table.digests[:0],
        classes=scenario.table.classes,
        domain_names=scenario.table.domain_names,
        in_prompts=scenario.table.in_prompts,
    )
    tasks = [Task(one.index, one.name, one.classes, empty, empty, empty, one.fingerprint) for one in scenario.tasks]
    return Scenario(scenario.kind, table, empty, scenario.classes, tuple(tasks), planned=scenario.planned)


def make_options(given: Mapping[str, Any]) -> TrainingSpec:
    """Training options for a few steps per task."""
    defaults = {"optimizer": OptimizerSpec(lr=5e-4, head_lr=3e-3), "batch_size": 8, "precision": "32"}
    return TrainingSpec(**{**defaults, **given})


def make_backbone(needs: Sequence[str]) -> Backbone:
    """Build the bundled backbone, or a small CLIP with random weights if CLIP is needed."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if "clip" in needs:
        return build_clip(BackboneSpec(name=CLIP), Weights("random"))
    return build_backbone(BackboneSpec(), find_weights(BackboneSpec(), []))


def make_resnet() -> Backbone:
    """Build a small ResNet with random weights, which has no transformer blocks."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return build_backbone(BackboneSpec(name="test_resnet", image_size=32), Weights("random"))
