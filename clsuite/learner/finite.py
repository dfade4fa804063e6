"""NaN and infinite values are an error, wherever they would become a number in a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.errors import UserError

if TYPE_CHECKING:
    from clsuite.learner.learner import Learner

WRONG = "NaN or infinite"
FIX = "look at the weights of the backbone, or take training.precision: 32"


def check_features(learner: Learner, features: Tensor, rows: NDArray[np.int64]) -> None:
    """Check the features of some rows of the stream's table.

    Args:
        learner: Whose backbone gave them.
        features: ``[len(rows), width]``.
        rows: Rows of the table.

    Raises:
        UserError: If one is not finite; says in which task, and of which part.
    """
    good = torch.isfinite(features).all(dim=1).cpu().numpy()
    if not good.all():
        part = "test" if learner.scenario.table.is_test[rows[~good][0]] else "training"
        raise UserError(f"the features of {int((~good).sum())} {part} images are {WRONG} {_when(learner)}: {FIX}")


def check_weights(learner: Learner) -> None:
    """Check every weight of a learner, after a task.

    Raises:
        UserError: If one is not finite; says which, and in which task.
    """
    name = _first_bad(learner.named_parameters())
    if name:
        raise UserError(
            f"the weights '{name}' are {WRONG} {_when(learner)}: "
            "lower training.optimizer.lr or set training.gradient_clip"
        )


def check_answers(learner: Learner, logits: Tensor, where: str) -> None:
    """Check a method's answers for some test images.

    Args:
        learner: Who answers.
        logits: ``[B, seen classes]``.
        where: What the images belong to, for people.

    Raises:
        UserError: If one is not finite; says in which task, and on which images.
    """
    if not bool(torch.isfinite(logits).all()):
        raise wrong_answers(learner, where)


def wrong_answers(learner: Learner, where: str) -> UserError:
    """The error of answers that are not finite; says in which task, and on which images: those of `where`."""
    names = ", ".join(type(plugin).__name__ for plugin in learner.plugins) or "the head"
    return UserError(f"the answers of [{names}] are {WRONG} {_when(learner)}, {where}: no result is kept")


def check_loss(learner: Learner, loss: Tensor, features: Tensor, step: int) -> None:
    """Check the loss of a training step.

    Args:
        learner: Who is trained.
        loss: A scalar.
        features: ``[B, width]`` of the batch.
        step: Of the epoch, from 0.

    Raises:
        UserError: If it is not finite; says in which task, epoch and step.
    """
    if bool(torch.isfinite(loss)):
        return
    where = f"{_when(learner)}, epoch {learner.current_epoch}, step {step}"
    if not bool(torch.isfinite(features).all()) and learner.current_epoch == step == 0:
        raise UserError(f"the features are {WRONG} {where}: look at the weights of the backbone")
    raise UserError(f"the loss is {loss.item()} {where}: lower training.optimizer.lr or set training.gradient_clip")


def _first_bad(named: Iterable[tuple[str, Tensor]]) -> str:
    return next((name for name, value in named if not bool(torch.isfinite(value).all())), "")


def _when(learner: Learner) -> str:
    return "before the stream" if learner.task is None else f"in task {learner.task.index} ({learner.task.name})"
