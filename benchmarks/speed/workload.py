"""What every contestant learns: one stream, one network, one set of training options."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.vit import Backbone, build_backbone
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.data.stable_random import derive_seed, stable_random
from clsuite.learner.batch_size import inference_batch_size
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.scenarios import Scenario, ScenarioSpec, Task, build_scenario

MODEL = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
MEMORY_SIZE = 200


@dataclass(frozen=True)
class Preset:
    """A named stream: the data set, its number of tasks, and the side of its images in pixels."""

    dataset: DatasetSpec
    tasks: int
    image_size: int


PRESETS = {
    "digits": Preset(DatasetSpec(name="digits"), tasks=5, image_size=64),
    "caltech101": Preset(DatasetSpec(name="image_folder", path="caltech101", train_per_class=30), 10, 128),
}


@dataclass(frozen=True)
class Workload:
    """The stream and how it is learned.

    Attributes:
        scenario: The stream; its images lie in memory once, shared by all contestants.
        initial: The network before training; contestants take copies.
        options: How each task is trained.
    """

    scenario: Scenario
    initial: Backbone
    options: TrainingSpec
    seed: int
    memory_size: int = MEMORY_SIZE

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks in order."""
        return self.scenario.tasks

    @property
    def eval_batch(self) -> int:
        """Images of an evaluation batch, the same for all: as many as clsuite takes on a CPU."""
        return inference_batch_size(self.scenario.table.images.shape, torch.device("cpu"))

    @property
    def test_images(self) -> int:
        """Images in the test parts of all tasks."""
        return sum(len(task.test) for task in self.tasks)

    @property
    def their_precision(self) -> str:
        """What bare PyTorch and Avalanche compute in: float32, their default, where clsuite chooses by itself."""
        return "32" if self.options.precision == "auto" else self.options.precision

    def backbone(self) -> Backbone:
        """A new copy of the network before training."""
        return copy.deepcopy(self.initial)

    def optimizer(self, parameters: Any) -> torch.optim.AdamW:
        """The optimizer that clsuite would make, for contestants that make their own."""
        spec = self.options.optimizer
        return torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay, fused=True)

    def batches(self, task: Task, epoch: int) -> Iterator[torch.Tensor]:
        """Rows of the table, batch by batch, in the order that clsuite draws for that task and epoch."""
        order = derive_seed(self.seed, "order", task.index)
        rows = stable_random(order, "epoch", epoch).permutation(task.train)
        yield from torch.from_numpy(rows).split(self.options.batch_size)


def make_workload(
    preset: Preset, training: TrainingSpec, seed: int, data_root: Path | None, weights: Path | None
) -> Workload:
    """Load the images, cut the stream and build the network.

    Args:
        preset: Which stream.
        training: Options of the training.
        seed: Decides the order of classes and of batches, the head's first values, and random weights.
        data_root: Folder below which an image folder is looked for.
        weights: File with the pre-trained weights; None draws random ones.
    """
    table = load_table(preset.dataset, preset.image_size, data_root)
    table = replace(table, images=np.array(table.images))
    scenario = build_scenario(table, ScenarioSpec(tasks=preset.tasks), seed, preset.dataset.train_per_class)
    torch.manual_seed(seed)
    source = Weights("random") if weights is None else Weights("file", weights)
    backbone = build_backbone(BackboneSpec(name=MODEL, image_size=preset.image_size), source)
    return Workload(scenario, backbone, training, seed)


def training_options(epochs: int, batch_size: int, learning_rate: float, precision: str, threads: int) -> TrainingSpec:
    """AdamW without decay, a constant rate, no augmentation."""
    return TrainingSpec.model_validate(
        {
            "epochs": epochs,
            "batch_size": batch_size,
            "optimizer": OptimizerSpec(name="adamw", lr=learning_rate),
            "precision": precision,
            "threads": threads,
        }
    )
