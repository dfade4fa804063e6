"""One forward pass of a batch, for the hooks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clsuite.data.batch import Batch


@dataclass(frozen=True)
class Step:
    """One training step, for the loss hooks.

    Attributes:
        batch: The batch with transformed images (None if cached features are used).
        features: Features ``[B, width]``.
        logits: Logits of the head ``[B, seen classes]``, or ``[B, classes of the stream]`` if it has all classes from
            the start (``training.head_classes: stream``).
    """

    batch: Batch
    features: Tensor
    logits: Tensor
