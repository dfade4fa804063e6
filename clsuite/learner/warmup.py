"""Training a part of the head alone, on fixed features."""

from __future__ import annotations

import torch
from torch import Tensor

from clsuite.learner.learner import Learner
from clsuite.learner.loss import classification_loss
from clsuite.scenarios import Task


def warm_up_head(
    learner: Learner, task: Task, features: Tensor, *, epochs: int, lr: float, generator: torch.Generator
) -> None:
    """Train the columns of a task's new classes with Adam on its features; nothing else moves.

    A head without weights of its own stays as it is. The samples count among those that pass backwards.

    Args:
        learner: Its head is trained.
        task: The task.
        features: ``[len(task.train), width]``, of the task's training images.
        epochs: Passes over the features.
        lr: Learning rate.
        generator: Source of the order (on the CPU).
    """
    labels = learner.labels_of(task.train)
    parameters = learner.head.newest_parameters()
    if not parameters:
        return
    new = _new_columns(learner, task, len(parameters[0]))
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for rows in torch.split(order, learner.options.batch_size):
            logits = learner.head(features[rows])
            loss = classification_loss(logits, labels[rows], learner.options.loss, task.classes)
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient * new.view(-1, *[1] * (gradient.dim() - 1))
            optimizer.step()
            learner.gradient_samples += len(rows)
    for parameter in parameters:
        parameter.grad = None


def _new_columns(learner: Learner, task: Task, newest: int) -> Tensor:
    """Which of the newest group's columns are trained, ``[newest]``: of a head that has all classes, the task's new."""
    first = learner.head.classes - newest
    old, seen = (learner.scenario.seen_classes(task.index + later) for later in (0, 1))
    columns = torch.arange(newest, device=learner.device) + first
    return ((columns >= old) & (columns < seen) | (old == seen)).float()
