"""The classification loss that every method starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.on_device import moved


def classification_loss(
    logits: Tensor, labels: Tensor, scope: Literal["global", "local"], task_classes: Sequence[int]
) -> Tensor:
    """Mean cross-entropy.

    Args:
        logits: ``[B, C]`` over all seen classes.
        labels: ``[B]`` stream labels.
        scope: ``global``: all seen classes compete. ``local``: for samples of the current task's classes only those
            compete; samples of other classes (exemplars) keep all.
        task_classes: Stream labels of the current task.

    Returns:
        A scalar.
    """
    if scope == "local":
        inside = torch.zeros(logits.shape[1], dtype=torch.bool)
        inside[list(task_classes)] = True
        inside = moved(inside, logits.device)
        logits = logits.masked_fill(inside[labels][:, None] & ~inside, float("-inf"))
    return F.cross_entropy(logits.float(), labels)
