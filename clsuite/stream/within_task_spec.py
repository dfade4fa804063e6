"""Evaluation within tasks in a benchmark file, and the resolution of training curves. Needs no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clsuite.config.spec import Spec

Steps = Annotated[int, Field(ge=1, le=10**9, strict=True)]
"""A number of optimizer steps."""
CURVE_POINTS = 200
"""Default number of points of a training curve in one task."""


class EvaluationSpec(Spec):
    """Evaluation during the training of a task, on a fixed subset of the test images.

    Attributes:
        every: Number of optimizer steps between two evaluations. There are further evaluations before the first step
            and after the steps 1, 2, 4, 8, ... below this number, because what is forgotten at the start of a task is
            forgotten in its first steps.
        samples: Number of test images of each evaluation part, balanced over its classes; all if there are fewer.
    """

    every: Steps
    samples: int = Field(default=200, ge=1, le=10**9, strict=True)

    def wants(self, step: int) -> bool:
        """Whether to evaluate after a number of steps of a task."""
        return step % self.every == 0 or (step < self.every and step.bit_count() == 1)
