"""One pass of a batch through the model, as the hooks see it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clsuite.data.batch import Batch


@dataclass(frozen=True)
class Step:
    """One training step as the loss hooks see it.

    Attributes:
        batch: The batch, its images transformed (None while frozen features are used).
        features: ``[B, width]``.
        logits: ``[B, seen classes]``, of the head; ``[B, classes of the stream]`` where it has all of them from the
            start (``training.head_classes: stream``).
    """

    batch: Batch
    features: Tensor
    logits: Tensor
