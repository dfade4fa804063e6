"""NaN and infinite values are an error, wherever they would become a number in a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clsuite.errors import UserError
from clsuite.scenarios import Task

WRONG = "NaN or infinite"
FIX = "look at the weights of the backbone, or take training.precision: 32"


def check_features(features: Tensor, is_test: NDArray[np.bool_], task: Task | None) -> None:
    """Check the features of some images.

    Args:
        features: ``[N, width]``.
        is_test: ``[N]``: whether each is a test image.
        task: The current task; None before the first.

    Raises:
        UserError: If one is not finite; says in which task, and of which part.
    """
    good = torch.isfinite(features).all(dim=1).cpu().numpy()
    if not good.all():
        part = "test" if is_test[~good][0] else "training"
        raise UserError(f"the features of {int((~good).sum())} {part} images are {WRONG} {_when(task)}: {FIX}")


def check_weights(learner: nn.Module, task: Task | None) -> None:
    """Check every weight of a learner, after a task.

    Raises:
        UserError: If one is not finite; says which, and in which task.
    """
    name = _first_bad(learner.named_parameters())
    if name:
        raise UserError(
            f"the weights '{name}' are {WRONG} {_when(task)}: lower training.optimizer.lr or set training.gradient_clip"
        )


def check_answers(logits: Tensor, plugins: Sequence[object], task: Task | None, where: str) -> None:
    """Check a method's answers for some test images.

    Args:
        logits: ``[B, seen classes]``.
        plugins: Who answers; without any it is the head.
        task: The current task; None before the first.
        where: What the images belong to, for people.

    Raises:
        UserError: If one is not finite; says in which task, and on which images.
    """
    if not bool(torch.isfinite(logits).all()):
        raise wrong_answers(plugins, task, where)


def wrong_answers(plugins: Sequence[object], task: Task | None, where: str) -> UserError:
    """The error of answers that are not finite; says in which task, and on which images: those of `where`."""
    names = ", ".join(type(plugin).__name__ for plugin in plugins) or "the head"
    return UserError(f"the answers of [{names}] are {WRONG} {_when(task)}, {where}: no result is kept")


def check_loss(loss: Tensor, features: Tensor, task: Task | None, epoch: int, step: int) -> None:
    """Check the loss of a training step.

    Args:
        loss: A scalar.
        features: ``[B, width]`` of the batch.
        task: The current task.
        epoch: Of the task, from 0.
        step: Of the epoch, from 0.

    Raises:
        UserError: If it is not finite; says in which task, epoch and step.
    """
    if bool(torch.isfinite(loss)):
        return
    where = f"{_when(task)}, epoch {epoch}, step {step}"
    if not bool(torch.isfinite(features).all()) and epoch == step == 0:
        raise UserError(f"the features are {WRONG} {where}: look at the weights of the backbone")
    raise UserError(f"the loss is {loss.item()} {where}: lower training.optimizer.lr or set training.gradient_clip")


def _first_bad(named: Iterable[tuple[str, Tensor]]) -> str:
    return next((name for name, value in named if not bool(torch.isfinite(value).all())), "")


def _when(task: Task | None) -> str:
    return "before the stream" if task is None else f"in task {task.index} ({task.name})"
