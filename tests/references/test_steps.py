"""Step by step: with the same first values, order and draws, the suite takes the steps of a plain loop.

Curves over seeds tell one method from another only where they lie further apart than seeds do. Here nothing is left to
chance: what the suite draws is given to the plain loop, or the other way round, and every loss is compared.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.buffer import ExemplarBuffer
from clsuite.data.stable_random import derive_seed, stable_random
from clsuite.learner.head import GrowingHead
from clsuite_plugins.lwf import LwF
from references import pairs
from references.common import digits
from references.pairs import PAIRS

SEED, STAGES, IMAGES = 0, 3, 40
APART = 1e-4
"""Largest difference of two losses; 1e-6 was measured, and some 1e-1 after one step that differs."""

Taken = list[tuple[list[int], float]]
"""Rows of the batch and loss, of each step."""


class Watch(L.Callback):
    """Keeps the suite's steps."""

    def __init__(self) -> None:
        self.steps: Taken = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append((batch.rows.tolist(), float(outputs["loss"])))


class Plain:
    """Gives a plain loop the suite's first values of heads and its order of samples, and keeps its steps."""

    def __init__(self, reference: Any, first_values: Any, warms_up: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: Taken = []
        self._step, self._first_values, self._warms_up = reference.step, first_values, warms_up
        self._heads, self._task, self._warmed = 0, 0, not warms_up
        self._rows: list[int] | None = None
        for name, mine in (("linear", self.linear), ("batches", self.batches), ("step", self.step)):
            monkeypatch.setattr(reference, name, mine)

    def linear(self, width: int, classes: int, std: float) -> torch.nn.Module:
        head = GrowingHead(width, first_values=self._first_values)
        head.grow(classes, torch.Generator().manual_seed(derive_seed(SEED, "head", self._heads)))
        self._heads += 1
        return head.groups[0]

    def batches(self, rows: Tensor, size: int, epochs: int = 1) -> Iterator[tuple[int, Tensor]]:
        if self._warms_up and self._task and not self._warmed:
            self._warmed = True
            yield from self._warm_up(rows, size, epochs)
            return
        for epoch in range(epochs):
            order = stable_random(derive_seed(SEED, "order", self._task), "epoch", epoch).permutation(rows.numpy())
            for chosen in torch.from_numpy(order).split(size):
                self._rows = chosen.tolist()
                yield epoch, chosen
        self._task, self._warmed, self._rows = self._task + 1, False, None

    def _warm_up(self, rows: Tensor, size: int, epochs: int) -> Iterator[tuple[int, Tensor]]:
        generator = torch.Generator().manual_seed(derive_seed(SEED, self._task, "lwf"))
        for epoch in range(epochs):
            for places in torch.randperm(len(rows), generator=generator).split(size):
                yield epoch, rows[places]

    def step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        self._step(optimizer, loss)
        if self._rows is not None:
            self.steps.append((self._rows, float(loss.detach())))


def as_algorithm_r(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the suite's buffer draw, and take what is offered, with the plain loop's generator and in its order."""
    draws, offered = random.Random(SEED), [0]

    def draw(self: ExemplarBuffer, number: int, generator: torch.Generator) -> Tensor:
        return torch.tensor(draws.sample(range(len(self)), min(number, len(self))))

    def offer(
        self: ExemplarBuffer, images: Any, labels: Tensor, rows: Tensor, *_: Any, logits: Tensor, **__: Any
    ) -> None:
        for one in range(len(labels)):
            place = offered[0] if offered[0] < self.capacity else draws.randrange(offered[0] + 1)
            offered[0] += 1
            if place < self.capacity:
                part, key = slice(one, one + 1), torch.zeros(1, dtype=torch.float64)
                values = {"labels": labels[part], "rows": rows[part], "logits": logits[part], "keys": key}
                self._write(torch.tensor([place]), {**values, "images": images(rows[part].numpy())})

    monkeypatch.setattr(ExemplarBuffer, "draw", draw)
    monkeypatch.setattr(ExemplarBuffer, "offer", offer)


def with_the_suites_adapters(reference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the plain loop's adapters begin as the suite's do."""
    generator = torch.Generator().manual_seed(derive_seed(SEED, -1, "lae"))

    class Adapter(reference.Adapter):  # type: ignore[misc]
        def __init__(self, width: int, size: int) -> None:
            super().__init__(width, size)
            with torch.no_grad():
                self.down.weight.uniform_(-(width**-0.5), width**-0.5, generator=generator)

    monkeypatch.setattr(reference, "Adapter", Adapter)


def with_the_papers_distillation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add to the suite's divergence what the paper's cross-entropy has more: the entropy of the recorded answers."""
    divergence = LwF.loss

    def loss(self: LwF, learner: Any, step: Any) -> Tensor | None:
        found = divergence(self, learner, step)
        if found is None or self._teacher is None:
            return found
        recorded = self._teacher[self._position[step.batch.rows]] / self.temperature
        return found + self.alpha * F.cross_entropy(recorded, recorded.softmax(dim=1))

    monkeypatch.setattr(LwF, "loss", loss)


@pytest.mark.parametrize("family", ["der++", "lae", "lwf"])
def test_the_suite_takes_the_steps_of_a_plain_loop(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    pair, scenario, watch = PAIRS[family], digits(SEED, STAGES, IMAGES), Watch()
    reference = importlib.import_module(f"references.{pair.reference}")
    plain = Plain(reference, pair.whole_training["head_init"], family == "lwf", monkeypatch)
    if family == "der++":
        as_algorithm_r(monkeypatch)
    elif family == "lae":
        with_the_suites_adapters(reference, monkeypatch)
    else:
        with_the_papers_distillation(monkeypatch)
    stream = pairs.SuiteStream
    monkeypatch.setattr(pairs, "SuiteStream", lambda *of: stream(*of, observers=[watch]))
    curves = pair.plain(scenario, SEED), pair.suite(scenario, SEED)
    assert [rows for rows, _ in watch.steps] == [rows for rows, _ in plain.steps]
    apart = np.abs(np.array([loss for _, loss in watch.steps]) - [loss for _, loss in plain.steps])
    assert len(apart) >= STAGES * 9
    assert apart.max() < APART, f"{family}: {apart.max()} in step {apart.argmax()}"
    assert curves[0] == pytest.approx(curves[1], abs=1.0)
