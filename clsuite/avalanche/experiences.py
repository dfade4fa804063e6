"""The stream as Avalanche's experiences: the same images, with the run's augmentation and normalization."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from clsuite.data.augment import augment
from clsuite.data.table import read_rows
from clsuite.learner.learner import Learner
from clsuite.private_api import labeled_dataset


class StoredImages(Dataset[tuple[Tensor, int]]):
    """Some samples of the table: uint8 images ``[C, H, W]`` and stream labels."""

    def __init__(self, learner: Learner, indices: NDArray[Any]) -> None:
        """Keep references; nothing is copied."""
        self._images, self._indices = learner.scenario.table.images, indices
        self.targets: list[int] = learner.scenario.labels[indices].tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(read_rows(self._images, self._indices[[index]]))[0], self.targets[index]


class Prepared:
    """Maps a stored image to the network's input: augmented if there are steps, and normalized."""

    def __init__(self, normalize: nn.Module, steps: Sequence[Any] = ()) -> None:
        """Keep a copy of the normalization on the CPU, where data sets are read."""
        self._normalize, self._steps = copy.deepcopy(normalize).cpu(), steps

    def __call__(self, image: Tensor) -> Tensor:
        """Transform an image ``[C, H, W]``; draws come from the global generator, which is seeded for each task."""
        images = augmented(image[None], self._steps) if self._steps else image[None]
        prepared: Tensor = self._normalize(images)[0]
        return prepared


class AugmentedAgain:
    """Augments images that are normalized already, for strategies that keep these: undoes the normalization for it."""

    def __init__(self, normalize: nn.Module, steps: Sequence[Any]) -> None:
        """Keep the normalization and the steps."""
        self._normalize, self._steps = copy.deepcopy(normalize), steps

    def __call__(self, images: Tensor) -> Tensor:
        """Augment images ``[B, 3, H, W]``, or one image ``[3, H, W]``; without steps they stay as they are."""
        if not self._steps:
            return images
        if images.dim() == 3:
            only: Tensor = self(images[None])[0]
            return only
        self._normalize.to(images.device)
        mean, std = (getattr(self._normalize, name).to(images.device) for name in ("mean", "std"))
        stored = (images * std + mean).round().clamp(0, 255).to(torch.uint8)
        again: Tensor = self._normalize(augmented(stored, self._steps))
        return again


def augmented(images: Tensor, steps: Sequence[Any]) -> Tensor:
    """Augment stored images ``[B, C, H, W]`` by draws that follow from the global generator."""
    seed = int(torch.randint(2**62, ()))
    return augment(steps, images, torch.Generator().manual_seed(seed))


def make_experiences(learner: Learner) -> list[Any]:
    """The tasks of the stream as training experiences, with one task label for all."""
    normalize = learner.backbone.normalize
    groups = {
        "train": (Prepared(normalize, learner.options.augment), None),
        "eval": (Prepared(normalize), None),
    }
    parts = [labeled_dataset(StoredImages(learner, task.train), groups) for task in learner.scenario.tasks]
    benchmark = with_task_labels(with_classes_timeline(benchmark_from_datasets(train=parts)))
    made = list(benchmark.streams["train"])
    for experience in made:  # Avalanche's ICaRL asks for the benchmark, which its experiences do not have since 0.6
        experience.benchmark = SimpleNamespace(
            classes_order=list(range(len(learner.scenario.classes))),
            n_classes_per_exp=[len(task.classes) for task in learner.scenario.tasks],
        )
    return made
