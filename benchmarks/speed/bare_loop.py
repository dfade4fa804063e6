"""The yardstick: plain PyTorch, no framework, the least that learns and evaluates the stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from measure import Learned
from torch import Tensor, nn
from torch.nn import functional as F
from workload import Workload

from clsuite.data.stable_random import derive_seed
from clsuite.learner.precision import autocast

CPU = torch.device("cpu")


class BareLoop:
    """Learns a stream with one head group per task: the same batches, first weights and losses as clsuite `finetune`.

    The images are one uint8 tensor in memory; a batch is gathered by index and normalized as a whole.
    """

    def __init__(self, workload: Workload) -> None:
        """Preload the tensors and copy the network."""
        table, backbone = workload.scenario.table, workload.backbone()
        self._workload = workload
        self._images, self._labels = torch.from_numpy(table.images), torch.from_numpy(workload.scenario.labels)
        self._mean, self._std = backbone.normalize.mean, backbone.normalize.std
        self._network, self._width = backbone.model, backbone.width
        self._heads = nn.ModuleList()
        self._precision = workload.their_precision
        self._steps = self._evaluated = 0

    def learn(self) -> Learned:
        """Train each task and evaluate after it on the test parts of all tasks seen."""
        training = evaluation = right = 0.0
        for index in range(len(self._workload.tasks)):
            started = time.perf_counter()
            self._train(index)
            trained = time.perf_counter()
            right = self._evaluate(index + 1)
            training += trained - started
            evaluation += time.perf_counter() - trained
        return Learned(training, evaluation, self._steps, self._evaluated, right / self._workload.test_images)

    def _logits(self, rows: Tensor) -> Tensor:
        images = (self._images[rows].expand(-1, 3, -1, -1).float() - self._mean) / self._std
        features = self._network(images)
        return torch.cat([head(features) for head in self._heads], dim=1).float()

    def _train(self, index: int) -> None:
        task = self._workload.tasks[index]
        self._grow(index)
        self._network.train()
        optimizer = self._workload.optimizer([*self._network.parameters(), *self._heads.parameters()])
        for epoch in range(self._workload.options.epochs):
            for rows in self._workload.batches(task, epoch):
                self._step(optimizer, rows)

    def _step(self, optimizer: torch.optim.Optimizer, rows: Tensor) -> None:
        optimizer.zero_grad()
        with autocast(self._precision, CPU):
            loss = F.cross_entropy(self._logits(rows), self._labels[rows])
        torch.autograd.backward(loss)
        optimizer.step()
        self._steps += 1

    def _grow(self, index: int) -> None:
        head = nn.Linear(self._width, len(self._workload.tasks[index].classes))
        generator = torch.Generator().manual_seed(derive_seed(self._workload.seed, "head", index))
        nn.init.normal_(head.weight, 0.0, 0.02, generator=generator)
        nn.init.zeros_(head.bias)
        self._heads.append(head)

    @torch.inference_mode()
    def _evaluate(self, tasks: int) -> int:
        self._network.eval()
        seen = torch.cat([torch.from_numpy(task.test) for task in self._workload.tasks[:tasks]])
        right = 0
        for rows in seen.split(self._workload.eval_batch):
            with autocast(self._precision, CPU):
                predicted = self._logits(rows).argmax(dim=1)
            right += int((predicted == self._labels[rows]).sum())
        self._evaluated += len(seen)
        return right


def prepare_bare(workload: Workload) -> Callable[[], Learned]:
    """Build the bare loop."""
    return BareLoop(workload).learn


def warm_up(workload: Workload, steps: int = 3) -> None:
    """Take the first few steps and evaluate one task, with a copy of the network that is thrown away."""
    first = workload.tasks[0]
    few = replace(first, train=first.train[: steps * workload.options.batch_size])
    cut = replace(workload.scenario, tasks=(few,))
    options = workload.options.model_copy(update={"epochs": 1})
    BareLoop(replace(workload, scenario=cut, options=options)).learn()
