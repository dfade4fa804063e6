"""Checks for NaN and infinite values, which must not become results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clsuite.errors import UserError
from clsuite.scenarios import Task

WRONG = "NaN or infinite"
FIX = "check the weights of the backbone, or set training.precision: 32"


def check_features(features: Tensor, is_test: NDArray[np.bool_], task: Task | None) -> None:
    """Check the features of some images.

    Args:
        features: ``[N, width]``.
        is_test: ``[N]``: whether each image is a test image.
        task: The current task; None before the first.

    Raises:
        UserError: If a value is not finite; names the task and the split.
    """
    good = torch.isfinite(features).all(dim=1).cpu().numpy()
    if not good.all():
        part = "test" if is_test[~good][0] else "training"
        raise UserError(f"the features of {int((~good).sum())} {part} images are {WRONG} {_when(task)}: {FIX}")


def check_weights(learner: nn.Module, task: Task | None) -> None:
    """Check all weights of a learner after a task.

    Raises:
        UserError: If a weight is not finite; names the weight and the task.
    """
    name = _first_bad(learner.named_parameters())
    if name:
        raise UserError(
            f"the weights '{name}' are {WRONG} {_when(task)}: lower training.optimizer.lr or set training.gradient_clip"
        )


def check_answers(logits: Tensor, plugins: Sequence[object], task: Task | None, where: str) -> None:
    """Check a method's predictions for test images.

    Args:
        logits: ``[B, seen classes]``.
        plugins: The plugins that predict; the head if there are none.
        task: The current task; None before the first.
        where: Description of the images, for the message.

    Raises:
        UserError: If a logit is not finite; names the task and the images.
    """
    if not bool(torch.isfinite(logits).all()):
        raise wrong_answers(plugins, task, where)


def wrong_answers(plugins: Sequence[object], task: Task | None, where: str) -> UserError:
    """The error for predictions that are not finite; names the task and the images (`where`)."""
    names = ", ".join(type(plugin).__name__ for plugin in plugins) or "the head"
    return UserError(f"the predictions of [{names}] are {WRONG} {_when(task)}, {where}: no result is stored")


def check_loss(loss: Tensor, features: Tensor, task: Task | None, epoch: int, step: int) -> None:
    """Check the loss of a training step.

    Args:
        loss: A scalar.
        features: ``[B, width]`` of the batch.
        task: The current task.
        epoch: Number of the epoch in the task, from 0.
        step: Number of the step in the epoch, from 0.

    Raises:
        UserError: If it is not finite; names the task, epoch and step.
    """
    if bool(torch.isfinite(loss)):
        return
    where = f"{_when(task)}, epoch {epoch}, step {step}"
    if not bool(torch.isfinite(features).all()) and epoch == step == 0:
        raise UserError(f"the features are {WRONG} {where}: check the weights of the backbone")
    raise UserError(f"the loss is {loss.item()} {where}: lower training.optimizer.lr or set training.gradient_clip")


def _first_bad(named: Iterable[tuple[str, Tensor]]) -> str:
    return next((name for name, value in named if not bool(torch.isfinite(value).all())), "")


def _when(task: Task | None) -> str:
    return "before the stream" if task is None else f"in task {task.index} ({task.name})"
