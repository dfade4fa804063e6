"""Forgetting prioritised finetuning (FPF)."""

from __future__ import annotations

from typing import Any

import torch

from clsuite.data.buffer import ExemplarBuffer
from clsuite.errors import UserError
from clsuite.learner.aside import SetAside
from clsuite.learner.learner import Learner
from clsuite.learner.rehearsal import select_parameters, tune_on_exemplars
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class FPF(Plugin):
    """Fine-tunes the most task-sensitive modules alone on the buffer, before the model is used.

    Zhao et al., "Does continual learning equally forget all parameters?" (ICML 2023), algorithm 1: any method learns;
    at the end the modules that tasks change most are fine-tuned for few steps on the exemplars. It stands beside any
    method and takes that method's buffer; for methods without one it keeps its own. So that every row of the accuracy
    matrix shows it, it is done after each task, for the evaluation alone: the method then goes on from its own weights.

    Args:
        modules: What is fine-tuned: ``norm`` (normalisation layers), ``head``, ``bias``, ``patch_embed`` or ``all``,
            joined by ``+``. (Paper, ResNets: batch norm and the last layer for class-incremental streams.)
        steps: SGD steps.
        lr: Learning rate at the start; falls to zero by a cosine.
        momentum: Of SGD.
        batch_size: Exemplars a step.
        capacity: Exemplars of its own buffer (class-balanced), where no other plugin keeps one.
    """

    traits = Traits(
        needs=("gradient",),
        stores=("exemplars",),
        forbids={"all data": "joint training has nothing to mend"},
        paper="Zhao, ICML 2023 (FPF)",
    )

    def __init__(
        self,
        modules: str = "norm+head",
        steps: int = 100,
        lr: float = 0.01,
        momentum: float = 0.9,
        batch_size: int = 32,
        capacity: int = 200,
    ) -> None:
        super().__init__()
        if min(steps, batch_size, capacity) < 1:
            raise UserError("fpf: steps, batch_size and capacity must each be at least 1")
        self.modules, self.steps, self.lr, self.momentum = modules, steps, lr, momentum
        self.batch_size, self.capacity = batch_size, capacity
        self._own: ExemplarBuffer | None = None
        self._aside = SetAside()

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Find the method's buffer, or make one.

        Raises:
            UserError: If the plugin that keeps the buffer comes after this one, or a kind of module is unknown.
        """
        select_parameters(learner, self.modules)
        place = learner.plugins.index(self)
        if any(isinstance(getattr(plugin, "buffer", None), ExemplarBuffer) for plugin in learner.plugins[place + 1 :]):
            raise UserError("fpf must come after the plugin that stores exemplars, as in [replay, fpf]")
        self._own = None if self._lender(learner) else ExemplarBuffer(self.capacity, "class_balanced")

    def _lender(self, learner: Learner) -> Plugin | None:
        buffers = (plugin for plugin in learner.plugins if isinstance(getattr(plugin, "buffer", None), ExemplarBuffer))
        return next(buffers, None)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Fine-tune the modules for the evaluation."""
        generator = torch.Generator().manual_seed(learner.generator("fpf").initial_seed())
        if self._own is not None:
            rows = torch.from_numpy(task.train)
            self._own.offer(learner.images_of(task.train), learner.labels_of(task.train).cpu(), rows, generator)
        lender = self._lender(learner)
        buffer: ExemplarBuffer = self._own if lender is None else lender.buffer  # type: ignore[attr-defined]
        parameters = select_parameters(learner, self.modules)
        self._aside.replace(learner, {name: value.detach().clone() for name, value in parameters.items()})
        tune_on_exemplars(
            learner,
            parameters,
            buffer,
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            momentum=self.momentum,
            generator=generator,
        )

    def before_next_task(self, learner: Learner, task: Task) -> None:
        """Give the method its own weights back."""
        self._aside.take_back(learner)

    def stored_bytes(self) -> dict[str, int]:
        """The exemplars of its own buffer."""
        return {"exemplars": self._own.bytes} if self._own is not None else {}

    def state_dict(self) -> dict[str, Any]:
        """Its own buffer."""
        return {} if self._own is None else self._own.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Its own buffer."""
        if self._own is not None:
            self._own.load_state_dict(state_dict)
