"""GDumb: greedy sampler and dumb learner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clsuite.plugin import Learner, RehearsalPlugin, Scenario, Task, Traits, UserError
from clsuite.plugin.helpers import PretrainedState


class GDumb(RehearsalPlugin):
    """Keeps a class-balanced buffer and trains on it alone, from the pre-trained weights, at the start of each task.

    Prabhu et al., "GDumb: a simple approach that questions our progress in continual learning" (ECCV 2020), algorithms
    1 (greedy balancing sampler) and 2 (dumb learner). The sampler sees every sample once and fills the buffer; new
    classes then replace exemplars of the largest classes. Streams that pass once can therefore be learned, and epochs
    are passes over the exemplars.

    The traits set the paper's 256 epochs with batches of 16 and gradients clipped at 10. It differs from the paper in
    three points. Training starts from the run's pre-trained backbone, as for every method, where the paper starts from
    random weights. The optimizer and its learning rate are therefore those of the run too (paper: SGD from 0.05 down to
    0.0005 with warm restarts, weight decay 1e-6). There is no CutMix (paper: with probability 0.5).

    Args:
        capacity: Number of exemplars kept, at least one for each class; null if `capacity_bytes` is given. (Paper,
            CIFAR-100: 500 to 10,000.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
    """

    traits = Traits(
        memory=("exemplars",),
        incompatible_with={
            "all data": "both choose what the model is trained on anew",
            "exemplars": "gdumb trains on its own exemplars alone",
            "importances": "gdumb starts from the pre-trained weights at each task: there is nothing to keep",
            "logits": "gdumb starts from the pre-trained weights at each task: there is nothing to keep",
            "masks": "gdumb starts from the pre-trained weights at each task: there is nothing to hold",
            "modules": "gdumb starts anew at each task, and would go on from the modules of the last",
            "statistics": "gdumb starts anew at each task: statistics of older features would not fit",
            "weights": "gdumb starts from the pre-trained weights at each task: there is nothing to average",
        },
        paper="Prabhu, ECCV 2020 (GDumb)",
        training={"epochs": 256, "batch_size": 16, "gradient_clip": 10.0},
        from_memory=True,
        buffer="class_balanced",
    )

    def __init__(self, capacity: int | None = 500, capacity_bytes: int | None = None) -> None:
        super().__init__("gdumb", capacity, capacity_bytes, "class_balanced")

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Create the buffer.

        Raises:
            UserError: If images of a task would not compete with the classes of earlier tasks.
        """
        if learner.options.loss == "local":
            raise UserError("gdumb needs training.loss: global: it trains on images of all tasks at once")
        super().on_stream_start(learner, scenario)

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Keep the pre-trained weights; the weights of the interrupted run are loaded afterwards."""
        self._initial = PretrainedState(learner)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Sample from the task (algorithm 1) and restore the pre-trained weights."""
        super().on_task_start(learner, task)
        self.buffer.add_task(learner, task, self.draws)
        if task.index == 0:
            self._initial = PretrainedState(learner)
        else:
            self._initial.restore(learner)

    def select_indices(self, learner: Learner, task: Task, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of the exemplars (algorithm 2)."""
        return self.buffer.indices.numpy().copy()
