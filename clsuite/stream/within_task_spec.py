"""What a benchmark says about evaluation within tasks, and how fine curves of training are. Needs no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clsuite.config.spec import Spec

Steps = Annotated[int, Field(ge=1, le=10**9, strict=True)]
"""A number of optimizer steps."""
CURVE_POINTS = 200
"""Points of a curve of training in one task, by default."""


class EvaluationSpec(Spec):
    """Evaluation while a task is learned, on a fixed subset of the test images.

    Attributes:
        every: Optimizer steps between two evaluations. Those before the first step and after the steps 1, 2, 4, 8, ...
            below it come on top: what is lost at the start of a task is lost in its first steps.
        samples: Test images of each evaluation part, balanced over its classes; all where there are fewer.
    """

    every: Steps
    samples: int = Field(default=200, ge=1, le=10**9, strict=True)

    def wants(self, step: int) -> bool:
        """Whether to evaluate after so many steps of a task."""
        return step % self.every == 0 or (step < self.every and step.bit_count() == 1)
