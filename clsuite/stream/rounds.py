"""The training of one task: the rounds of its plan, each with its own trainer."""

from __future__ import annotations

from collections.abc import Callable

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray

from clsuite.data.batch import BatchLoader
from clsuite.data.stable_random import derive_seed
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.scenarios import Task
from clsuite.stream.task_checkpoint import TaskCheckpoint
from clsuite.stream.trainer import release_optimizers


def train_task(
    learner: Learner,
    task: Task,
    device: torch.device,
    make_trainer: Callable[[], L.Trainer],
    within: TaskCheckpoint | None,
) -> tuple[L.Trainer, int]:
    """Train a task that has begun, round after round, from the checkpoint within the task if there is one.

    Args:
        learner: The model.
        task: The task.
        device: The device of the batches.
        make_trainer: Creates the trainer of a planned round.
        within: The callback that saves within the task and resumes there.

    Returns:
        The trainer of the last round, and the number of optimizer steps of all rounds.

    Raises:
        UnfitStateError: If the checkpoint within the task does not fit.
        UserError: If a round takes no step.
    """
    indices = task.train
    for plugin in learner.plugins:
        indices = plugin.select_indices(learner, task, indices)
    first = 0 if within is None else within.resume_rounds()
    number, rounds = first, first + 1
    while number < rounds:
        if number:
            L.seed_everything(derive_seed(learner.seed, "task", task.index, number), verbose=False)
        learner.begin_round(task, number, len(indices))
        rounds = learner.plan.rounds
        trainer = make_trainer()
        _fit(trainer, learner, _loader(learner, task, indices, device), within)
        if trainer.global_step == 0:
            raise UserError(
                f"task {task.index} ({task.name}) took no optimizer step although it has {len(indices)} images"
            )
        learner.to(device)
        learner.end_round(task, int(trainer.global_step))
        number += 1
    return trainer, learner.earlier_steps


def _loader(learner: Learner, task: Task, indices: NDArray[np.int64], device: torch.device) -> BatchLoader:
    """The batches of a round."""
    uses_cached_features, round = learner.uses_cached_features, learner.plan.round
    if uses_cached_features:
        learner.compute_known_features()
    return BatchLoader(
        learner.scenario.table,
        learner.scenario.labels,
        indices,
        learner.options.batch_size,
        shuffle_seed=learner.seed_for("order", "order", task.index, *([round] if round else [])),
        with_images=not uses_cached_features,
        repeats=learner.scenario.batch_repeats,
        device=device,
    )


def _fit(trainer: L.Trainer, learner: Learner, loader: BatchLoader, within: TaskCheckpoint | None) -> None:
    if within is not None:
        within.begin(trainer, loader)
    trainer.fit(learner, train_dataloaders=loader)
    release_optimizers(trainer)
    if trainer.interrupted:
        raise KeyboardInterrupt
