"""Training of new columns of the head on fixed features."""

from __future__ import annotations

import torch
from torch import Tensor

from clsuite.learner.learner import Learner
from clsuite.learner.loss import classification_loss
from clsuite.scenarios import Task


def warm_up_head(
    learner: Learner, task: Task, features: Tensor, *, epochs: int, lr: float, generator: torch.Generator
) -> None:
    """Train only the columns of a task's new classes, with Adam on the task's features.

    A head without its own weights does not change. The samples are counted as samples with a backward pass.

    Args:
        learner: The learner with the head.
        task: The task.
        features: Features ``[len(task.train), width]`` of the task's training images.
        epochs: Number of passes over the features.
        lr: Learning rate.
        generator: Random number generator of the order (on the CPU).
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
    """Mask ``[newest]`` of the newest group's columns to train: if the head has all classes, the task's new ones."""
    first = learner.head.classes - newest
    old, seen = (learner.scenario.seen_classes(task.index + later) for later in (0, 1))
    columns = torch.arange(newest, device=learner.device) + first
    return ((columns >= old) & (columns < seen) | (old == seen)).float()
