"""Periodic forgetting prioritized fine-tuning (k-FPF)."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import (
    Learner,
    RehearsalPlugin,
    Scenario,
    Step,
    Task,
    Traits,
    UserError,
    check_range,
    select_parameters,
    tune_on_exemplars,
)
from clsuite.plugin.helpers import check_trained


class KFPF(RehearsalPlugin):
    """Trains without replay at each step, and periodically fine-tunes the task-sensitive modules on the buffer.

    Zhao et al., "Does continual learning equally forget all parameters?" (ICML 2023), algorithm 2: k times, evenly
    spaced over the stream and independent of task boundaries, the most sensitive modules are fine-tuned on exemplars.
    With ``alpha``, the fine-tuning also matches the logits that were stored with the exemplars (k-FPF + KD). Samples
    are offered to the reservoir buffer once, at their first step in a task.

    The paper counts k over the whole stream. The number of steps of later tasks is not known in advance, so that here
    it is counted per task; with equal tasks, k times in all are ``per_task`` times in each.

    Args:
        capacity: Number of exemplars kept; null if `capacity_bytes` is given.
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        per_task: Number of times that modules are fine-tuned in each task, evenly spaced, the last at its end; at most
            the number of steps of a task.
        modules: What is fine-tuned, as for ``fpf``.
        steps: Number of SGD steps each time.
        lr: Learning rate at the start of each time; it falls to zero by a cosine schedule.
        momentum: Momentum of SGD in fine-tuning.
        batch_size: Number of exemplars in each step.
        alpha: Weight of the mean squared error to the stored logits; 0 is k-FPF without distillation.
    """

    traits = Traits(
        memory=("exemplars", "logits"),
        incompatible_with={"all data": "joint training has nothing to fix", "exemplars": "k-FPF stands in for replay"},
        paper="Zhao, ICML 2023 (k-FPF)",
        effects=("tunes between steps",),
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        per_task: int = 1,
        modules: str = "norm+head",
        steps: int = 100,
        lr: float = 0.01,
        momentum: float = 0.9,
        batch_size: int = 32,
        alpha: float = 0.0,
    ) -> None:
        super().__init__("kfpf", capacity, capacity_bytes, with_logits=alpha > 0)
        check_range("kfpf", at_least=1, per_task=per_task, steps=steps, batch_size=batch_size)
        check_range("kfpf", above=0, lr=lr)
        check_range("kfpf", at_least=0, below=1, momentum=momentum)
        check_range("kfpf", at_least=0, alpha=alpha)
        self.per_task, self.modules, self.alpha = per_task, modules, alpha
        self._tuning: dict[str, Any] = {"steps": steps, "lr": lr, "momentum": momentum, "batch_size": batch_size}

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Create the buffer.

        Raises:
            UserError: If a task has fewer steps than `per_task`, or a kind of module is unknown.
        """
        select_parameters(learner, self.modules)
        self._check_steps(learner, scenario)
        super().on_stream_start(learner, scenario)

    def _check_steps(self, learner: Learner, scenario: Scenario) -> None:
        epochs, batch_size = learner.options.epochs, learner.options.batch_size
        for task in scenario.tasks:
            steps = epochs * -(-len(task.train) // batch_size)
            if 0 < steps < self.per_task:
                raise UserError(
                    f"kfpf: per_task is {self.per_task}, but task {task.index} ({task.name}) has {steps} steps"
                )

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Start the task's own random draws, with none of its samples offered to the buffer yet.

        Raises:
            UserError: If a kind of module is frozen.
        """
        if task.index == 0:
            check_trained("kfpf", learner, self.modules)
        super().on_task_start(learner, task)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Add no loss; offer the batch's new samples to the buffer."""
        self.add_step(learner, step)
        return None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Fine-tune if one of the k points is reached."""
        assert isinstance(pl_module, Learner)
        steps = int(trainer.estimated_stepping_batches)
        done = trainer.global_step * self.per_task // steps
        if done > (trainer.global_step - 1) * self.per_task // steps:
            chosen = select_parameters(pl_module, self.modules)
            extra = self._distill if self.alpha else None
            tune_on_exemplars(pl_module, chosen, self.buffer, generator=self.draws, extra=extra, **self._tuning)

    def _distill(self, step: Step, chosen: Tensor) -> Tensor:
        stored = self.buffer.logits[chosen][:, : step.logits.shape[1]].to(step.logits.device)
        known = ~stored.isnan()
        return self.alpha * F.mse_loss(step.logits.float()[known], stored[known])
