"""What a benchmark says about evaluation within tasks. Needs no torch."""

from __future__ import annotations

from pydantic import Field

from clsuite.config.spec import Spec


class EvaluationSpec(Spec):
    """Evaluation while a task is learned, on a fixed subset of the test images.

    Attributes:
        every: Optimizer steps between two evaluations. Those before the first step and after the steps 1, 2, 4, 8, ...
            below it come on top: what is lost at the start of a task is lost in its first steps.
        samples: Test images of each evaluation part, balanced over its classes; all where there are fewer.
    """

    every: int = Field(ge=1, le=10**9, strict=True)
    samples: int = Field(default=200, ge=1, le=10**9, strict=True)

    def wants(self, step: int) -> bool:
        """Whether to evaluate after so many steps of a task."""
        return step % self.every == 0 or (step < self.every and step.bit_count() == 1)
