"""Forgetting prioritized fine-tuning (FPF)."""

from __future__ import annotations

from typing import Any, Literal

from clsuite.plugin import (
    Learner,
    RehearsalPlugin,
    Scenario,
    Task,
    Traits,
    check_range,
    select_parameters,
    tune_on_exemplars,
)
from clsuite.plugin.helpers import WeightSwap, check_trained


class FPF(RehearsalPlugin):
    """Fine-tunes the most task-sensitive modules alone on the buffer, before the model is used.

    Zhao et al., "Does continual learning equally forget all parameters?" (ICML 2023), algorithm 1: any method learns
    the stream; at the end the modules that change most between tasks are fine-tuned on the exemplars for a few steps.
    This plugin can be combined with any method. It uses that method's buffer, or its own if the method has none. So
    that every row of the accuracy matrix shows the effect, the fine-tuning is done after each task, for the evaluation
    only; the method then continues from its own weights.

    The cost is charged to the task in which it is spent: ``steps * batch_size`` samples each. The paper's algorithm
    spends it once, at the end. Of the cost in a table, ``(tasks - 1) * steps * batch_size`` is therefore spent on the
    earlier rows of the matrix only; ``when: end`` avoids it.

    Args:
        modules: What is fine-tuned: ``norm`` (normalization layers), ``head``, ``bias``, ``patch_embed`` or ``all``,
            joined by ``+``. Each must have trainable parameters, so that only ``head`` can be used with a frozen
            backbone. (Paper, ResNets: batch norm and the last layer for class-incremental streams.)
        steps: Number of SGD steps.
        lr: Learning rate at the start; it falls to zero by a cosine schedule.
        momentum: Momentum of SGD.
        batch_size: Number of exemplars in each step.
        capacity: Number of exemplars in its own buffer (class-balanced, at least one for each class), used if no other
            plugin keeps exemplars.
        when: ``each`` fine-tunes at the end of each task, ``end`` at the end of the stream only (the paper's algorithm
            1).
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
        super().__init__("fpf", capacity, None, "class_balanced")
        check_range("fpf", at_least=1, steps=steps, batch_size=batch_size)
        check_range("fpf", above=0, lr=lr)
        check_range("fpf", at_least=0, below=1, momentum=momentum)
        self.modules, self.when = modules, when
        self._tuning: dict[str, Any] = {"steps": steps, "lr": lr, "momentum": momentum, "batch_size": batch_size}
        self._swap = WeightSwap()

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Find the method's buffer, or create one.

        Raises:
            UserError: If a kind of module is unknown, or it is not clear which plugin's exemplars to use.
        """
        select_parameters(learner, self.modules)
        super().on_stream_start(learner, scenario)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Check that there is something to tune, after all plugins have frozen their parameters.

        Raises:
            UserError: If a kind of module is frozen.
        """
        super().on_task_start(learner, task)
        if task.index == 0:
            check_trained("fpf", learner, self.modules)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Fine-tune the modules for the evaluation."""
        if not self.borrows:
            self.buffer.add_task(learner, task, self.draws)
        if self.when == "end" and task.index + 1 < len(learner.scenario.tasks):
            return
        parameters = select_parameters(learner, self.modules)
        self._swap.replace(learner, {name: value.detach().clone() for name, value in parameters.items()})
        tune_on_exemplars(learner, parameters, self.buffer, generator=self.draws, **self._tuning)

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """Restore the method's own weights."""
        self._swap.restore(learner)
