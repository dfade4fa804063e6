"""Avalanche's contestants: its strategies on the same images, written as its users and its own examples write them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measure import Learned
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import transforms
from workload import Workload

from clsuite.backbones.vit import Backbone
from clsuite.learner.precision import autocast

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from avalanche.benchmarks import CLScenario, benchmark_from_datasets, with_classes_timeline
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.models import IncrementalClassifier
    from avalanche.training.plugins import EvaluationPlugin

STREAM_ACCURACY = "Top1_Acc_Stream"


class TableDataset(Dataset[tuple[Any, int]]):
    """Some rows of the table as the usual data set: one image at a time, through a torchvision transform."""

    def __init__(self, workload: Workload, rows: NDArray[np.int64], transform: Callable[[Any], Tensor]) -> None:
        """Keep views; nothing is copied."""
        self._images = workload.scenario.table.images.transpose(0, 2, 3, 1)
        self._rows, self._transform = rows, transform
        self.targets: list[int] = workload.scenario.labels[rows].tolist()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._transform(self._images[self._rows[index]]), self.targets[index]


class TensorsDataset(Dataset[tuple[Tensor, int]]):
    """The same rows as floats that are normalized beforehand: the cheapest that can be handed to Avalanche."""

    def __init__(self, workload: Workload, rows: NDArray[np.int64]) -> None:
        """Normalize all images."""
        images = torch.from_numpy(workload.scenario.table.images[rows])
        self._images = workload.initial.normalize(images)
        self.targets: list[int] = workload.scenario.labels[rows].tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._images[index], self.targets[index]


class IncrementalNetwork(nn.Module):
    """The same network under Avalanche's growing head, which masks the classes not seen yet; in equal precision."""

    def __init__(self, backbone: Backbone, precision: str) -> None:
        """Put the head on the network."""
        super().__init__()
        self.network = backbone.model
        self.classifier = IncrementalClassifier(backbone.width, initial_out_features=1)
        self._precision = precision

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[B, 3, H, W]`` to logits ``[B, classes]``."""
        with autocast(self._precision, images.device):
            logits: Tensor = self.classifier(self.network(images))
        return logits.float()


def prepare_avalanche(
    workload: Workload, strategy: Callable[..., Any], *, tensors: bool, seen_only: bool, **arguments: Any
) -> Callable[[], Learned]:
    """Build the benchmark and the strategy.

    Args:
        workload: The stream.
        strategy: Class of the strategy.
        tensors: Hand over normalized floats in place of a per-image transform.
        seen_only: Evaluate the tasks seen and not, as Avalanche's examples do, the whole test stream.
        arguments: Of the strategy.
    """
    benchmark = _benchmark(workload, tensors)
    network = IncrementalNetwork(workload.backbone(), workload.their_precision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = EvaluationPlugin(accuracy_metrics(experience=True, stream=True), loggers=[])
    learner = strategy(
        model=network,
        optimizer=workload.optimizer(network.parameters()),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=workload.options.batch_size,
        train_epochs=workload.options.epochs,
        eval_mb_size=workload.eval_batch,
        evaluator=evaluator,
        **arguments,
    )
    torch.manual_seed(workload.seed)
    return lambda: _learn(learner, benchmark, seen_only)


def _benchmark(workload: Workload, tensors: bool) -> CLScenario:
    transform = _transform(workload)

    def dataset(rows: NDArray[np.int64]) -> Any:
        return as_classification_dataset(
            TensorsDataset(workload, rows) if tensors else TableDataset(workload, rows, transform)
        )

    train, test = [dataset(task.train) for task in workload.tasks], [dataset(task.test) for task in workload.tasks]
    return with_classes_timeline(benchmark_from_datasets(train=train, test=test))


def _transform(workload: Workload) -> Callable[[Any], Tensor]:
    """ToTensor and Normalize; gray images get three channels in between."""
    normalize, gray = workload.initial.normalize, workload.scenario.table.images.shape[1] == 1
    mean, std = ((values / 255).flatten().tolist() for values in (normalize.mean, normalize.std))
    expand = [transforms.Lambda(lambda image: image.expand(3, -1, -1))] if gray else []
    return transforms.Compose([transforms.ToTensor(), *expand, transforms.Normalize(mean, std)])


def _learn(learner: Any, benchmark: CLScenario, seen_only: bool) -> Learned:
    """Avalanche's usual loop: train on each experience, then evaluate the test stream."""
    training = evaluation = 0.0
    evaluated, metrics = 0, {}
    train, test = benchmark.streams["train"], benchmark.streams["test"]
    for index, experience in enumerate(train):
        started = time.perf_counter()
        learner.train(experience, reset_optimizer_state=True)
        trained = time.perf_counter()
        shown = test[: index + 1] if seen_only else test
        metrics = learner.eval(shown)
        training += trained - started
        evaluation += time.perf_counter() - trained
        evaluated += sum(len(part.dataset) for part in shown)
    accuracy = next(value for name, value in metrics.items() if name.startswith(STREAM_ACCURACY))
    return Learned(training, evaluation, learner.clock.train_iterations, evaluated, float(accuracy))
