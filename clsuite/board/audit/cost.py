"""What it costs to repeat runs, and parts of them, in samples with a gradient through the backbone.

A forward pass without a gradient counts a third of such a sample (a backward pass costs as much as two forward passes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsuite.records import RunRecord
from clsuite.scenarios import Scenario
from clsuite.stream.relearning import IMAGES_TO_A_GRADIENT


@dataclass(frozen=True)
class RunCost:
    """The least that parts of a run cost.

    Attributes:
        tasks: Learning and evaluating each task alone.
        whole: The whole run.
        steps: Optimizer steps of each task.
        samples: Samples with a gradient in each task, whether it passes through the backbone or not.
        sizes: Number of test images of each evaluation, ``[T + 1]``.
    """

    tasks: tuple[float, ...]
    whole: float
    steps: tuple[int, ...]
    samples: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, record: RunRecord, scenario: Scenario, arrays: Mapping[str, NDArray[np.integer]]) -> RunCost:
        """The cost of a finished run.

        If the features are fixed, each image passes through the backbone once; methods that pass images through it more
        often cost more than this.
        """
        sizes = [
            int((arrays["labels"] < scenario.seen_classes(max(row, 1))).sum()) for row in range(len(record.tasks) + 1)
        ]
        alone, within = [], [sizes[0] / IMAGES_TO_A_GRADIENT]
        known = 0
        for index, entry in enumerate(record.tasks):
            images = len(scenario.tasks[index].train) if entry.frozen else 0
            samples = 0 if entry.frozen else entry.gradient_samples
            tested = sizes[index + 1]
            alone.append(samples + (images + tested) / IMAGES_TO_A_GRADIENT)
            new = tested - known if entry.frozen else tested
            within.append(samples + (images + new) / IMAGES_TO_A_GRADIENT)
            known = tested if entry.frozen else 0
        return cls(
            tasks=tuple(alone),
            whole=sum(within),
            steps=tuple(entry.steps for entry in record.tasks),
            samples=tuple(entry.gradient_samples for entry in record.tasks),
            sizes=tuple(sizes),
        )
