"""Forgetting prioritized finetuning (FPF)."""

from __future__ import annotations

from typing import Any, Literal

import torch

from clsuite.data.buffer import ExemplarBuffer, make_buffer
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.rehearsal import check_trained, select_parameters, tune_on_exemplars
from clsuite.learner.weight_swap import WeightSwap
from clsuite.plugin import Plugin, Traits, check_range
from clsuite.scenarios import Scenario, Task


class FPF(Plugin):
    """Fine-tunes the most task-sensitive modules alone on the buffer, before the model is used.

    Zhao et al., "Does continual learning equally forget all parameters?" (ICML 2023), algorithm 1: any method learns;
    at the end the modules that tasks change most are fine-tuned for few steps on the exemplars. It stands beside any
    method and takes that method's buffer; for methods without one it keeps its own. So that every row of the accuracy
    matrix shows it, it is done after each task, for the evaluation alone: the method then goes on from its own weights.

    What that takes is charged where it is spent: ``steps * batch_size`` samples to each task. The paper's algorithm
    spends it once, at the end: of the cost in a table ``(tasks - 1) * steps * batch_size`` is for the earlier rows of
    the matrix alone, and ``when: end`` does without them.

    Args:
        modules: What is fine-tuned: ``norm`` (normalization layers), ``head``, ``bias``, ``patch_embed`` or ``all``,
            joined by ``+``; each must have something that is trained, so that beside a frozen backbone ``head`` is what
            is left. (Paper, ResNets: batch norm and the last layer for class-incremental streams.)
        steps: SGD steps.
        lr: Learning rate at the start; falls to zero by a cosine.
        momentum: Of SGD.
        batch_size: Exemplars a step.
        capacity: Exemplars of its own buffer (class-balanced, at least one for each class), where no other plugin keeps
            one.
        when: ``each`` task's end, or the ``end`` of the stream alone (the paper's algorithm 1).
    """

    traits = Traits(
        requires=("gradient",),
        memory=("exemplars",),
        incompatible_with={"all data": "joint training has nothing to fix"},
        paper="Zhao, ICML 2023 (FPF)",
        buffer="class_balanced",
        borrows=True,
    )

    def __init__(
        self,
        modules: str = "norm+head",
        steps: int = 100,
        lr: float = 0.01,
        momentum: float = 0.9,
        batch_size: int = 32,
        capacity: int = 500,
        when: Literal["each", "end"] = "each",
    ) -> None:
        super().__init__()
        check_range("fpf", at_least=1, steps=steps, batch_size=batch_size, capacity=capacity)
        check_range("fpf", above=0, lr=lr)
        check_range("fpf", at_least=0, below=1, momentum=momentum)
        self.modules, self.steps, self.lr, self.momentum = modules, steps, lr, momentum
        self.batch_size, self.capacity, self.when = batch_size, capacity, when
        self._own: ExemplarBuffer | None = None
        self._swap = WeightSwap()

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Find the method's buffer, or make one.

        Raises:
            UserError: If the plugin that keeps the buffer comes after this one, if there are several, or if a kind of
                module is unknown.
        """
        select_parameters(learner, self.modules)
        lenders = self._lenders(learner)
        if len(lenders) > 1:
            names = " and ".join(type(plugin).__name__ for plugin in lenders)
            raise UserError(f"fpf borrows the exemplars of one plugin, and {names} keep some: leave one of them out")
        if any(plugin in learner.plugins[learner.plugins.index(self) :] for plugin in lenders):
            raise UserError("fpf must come after the plugin that stores exemplars, as in [replay, fpf]")
        self._own = None if lenders else self._make_buffer(scenario)

    def _make_buffer(self, scenario: Scenario) -> ExemplarBuffer:
        shape, classes = scenario.table.images.shape[1:], scenario.seen_classes(len(scenario.tasks))
        return make_buffer("fpf", "class_balanced", self.capacity, None, image_shape=shape, classes=classes)

    def _lenders(self, learner: Learner) -> list[Plugin]:
        return [plugin for plugin in learner.plugins if isinstance(getattr(plugin, "buffer", None), ExemplarBuffer)]

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Check that there is something to tune, once all plugins have frozen what they freeze.

        Raises:
            UserError: If a kind of module is frozen.
        """
        if task.index == 0:
            check_trained("fpf", learner, self.modules)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Fine-tune the modules for the evaluation."""
        generator = torch.Generator().manual_seed(learner.generator("fpf").initial_seed())
        if self._own is not None:
            indices = torch.from_numpy(task.train)
            self._own.add(learner.images_of, learner.labels_of(task.train).cpu(), indices, generator)
        if self.when == "end" and task.index + 1 < len(learner.scenario.tasks):
            return
        buffer: Any = self._lenders(learner)[0].buffer if self._own is None else self._own  # type: ignore[attr-defined]
        parameters = select_parameters(learner, self.modules)
        self._swap.replace(learner, {name: value.detach().clone() for name, value in parameters.items()})
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

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """Give the method its own weights back."""
        self._swap.restore(learner)

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
