"""The same draws for the suite and a plain loop: what the suite drew is watched, and given to the plain loop."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from clsuite.data.buffer import ExemplarBuffer
from clsuite.data.stable_random import derive_seed, stable_random
from clsuite.learner.head import GrowingHead
from references import common, pairs
from references.pairs import Pair

SEED = 0
Taken = list[tuple[list[int], float]]
"""Rows of the batch and loss, of each step."""


class Watch(L.Callback):
    """Keeps the suite's steps, and what it drew: first values, exemplars, and what dropout left out."""

    def __init__(self) -> None:
        self.steps: Taken = []
        self.begun: list[dict[str, Tensor]] = []
        self.exemplars: deque[tuple[list[int], list[int]]] = deque()

    def first(self, name: str) -> Tensor:
        """The values of the parameter whose name so ends, as its first task began."""
        return next(value for begun in self.begun for known, value in begun.items() if known.endswith(name)).clone()

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.begun.append({name: value.detach().clone() for name, value in module.named_parameters()})

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(len(self.steps))

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append((batch.indices.tolist(), float(outputs["loss"])))


class Plain:
    """Gives a plain loop the suite's first values of heads and its order of samples, and keeps its steps."""

    def __init__(self, reference: Any, first_values: Any, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: Taken = []
        self._exemplars: deque[tuple[list[int], list[int]]] = watch.exemplars
        self._step, self._first_values, self._warms_up = common.step, first_values, False
        self._heads, self._task, self._warmed = 0, 0, True
        self._rows: list[int] | None = None
        for name in ("linear", "batches", "step"):
            for holder in (reference, common):
                monkeypatch.setattr(holder, name, getattr(self, name), raising=False)

    def warms_up(self) -> None:
        """The loop takes batches for a new head first."""
        self._warms_up, self._warmed = True, False

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
                torch.manual_seed(len(self.steps))
                yield epoch, chosen
        self._task, self._warmed, self._rows = self._task + 1, not self._warms_up, None

    def _warm_up(self, rows: Tensor, size: int, epochs: int) -> Iterator[tuple[int, Tensor]]:
        generator = torch.Generator().manual_seed(derive_seed(SEED, self._task, "lwf"))
        for epoch in range(epochs):
            for places in torch.randperm(len(rows), generator=generator).split(size):
                yield epoch, rows[places]

    def shuffled(self, rows: Tensor) -> Tensor:
        """The rows that the suite's buffer holds at the next draw come first."""
        return rows[torch.isin(rows, torch.tensor(self._exemplars[0][0])).long().argsort(descending=True, stable=True)]

    def drawn(self, exemplars: Tensor, number: int) -> Tensor:
        """The exemplars that the suite drew, which must be among those that may be."""
        if not len(exemplars):
            return exemplars
        rows = self._exemplars.popleft()[1]
        assert {*rows} <= {*exemplars.tolist()}, f"{len({*rows} - {*exemplars.tolist()})} of {len(rows)}"
        assert len(rows) == len({*rows}) == min(number, len(exemplars))
        if self._rows is not None:
            self._rows = [*self._rows, *rows]
        return torch.tensor(rows, dtype=torch.int64)

    def step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        self._step(optimizer, loss)
        if self._rows is not None:
            self.steps.append((self._rows, float(loss.detach())))


class Case:
    """One family: its plain loop, what is given to it, and both sides' steps."""

    def __init__(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pair, self.watch, self.monkeypatch = pair, Watch(), monkeypatch
        self.reference = importlib.import_module(f"references.{pair.reference}")
        stream = pairs.SuiteStream
        monkeypatch.setattr(pairs, "SuiteStream", lambda *of: stream(*of, observers=[self.watch]))
        self.plain = Plain(self.reference, pair.whole_training["head_init"], self.watch, monkeypatch)

    def set(self, name: str, value: Any) -> None:
        """Let the plain loop use another function or class of that name."""
        self.monkeypatch.setattr(self.reference, name, value)

    def head_of(self, task: int) -> nn.Linear:
        """A task's part of the head as the suite's began, for methods that make it anew."""
        weight, bias = (self.watch.first(f"head.groups.{task}.{part}") for part in ("weight", "bias"))
        layer = nn.Linear(*weight.T.shape)
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
        return layer

    def begin_as(self, name: str, parameters: Callable[[int], dict[str, str]]) -> None:
        """Let modules of a class of the plain loop begin as the suite's did.

        Args:
            name: The class.
            parameters: Of the number of a module, by order of making: the suite's name of each of its parameters.
        """
        watch, numbers = self.watch, count()

        class Given(getattr(self.reference, name)):  # type: ignore[misc]
            def __init__(self, *of: Any) -> None:
                super().__init__(*of)
                with torch.no_grad():
                    for own, of_suite in parameters(next(numbers)).items():
                        self.get_parameter(own).copy_(watch.first(of_suite))

        self.set(name, Given)

    def keep_draws(self) -> None:
        """Let the plain loop rehearse the exemplars that the suite drew."""
        draw = ExemplarBuffer.sample_indices

        def kept(buffer: ExemplarBuffer, number: int, generator: torch.Generator) -> Tensor:
            places = draw(buffer, number, generator)
            self.watch.exemplars.append((buffer.indices.tolist(), buffer.indices[places].tolist()))
            return places

        self.monkeypatch.setattr(ExemplarBuffer, "sample_indices", kept)
        self.set("drawn", self.plain.drawn)
        self.monkeypatch.setattr(self.reference, "shuffled", self.plain.shuffled, raising=False)
