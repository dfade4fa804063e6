"""Joint training: the upper bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError
from clsuite.plugin.helpers import PretrainedState


class Joint(Plugin):
    """Trains on all data seen so far, from the pre-trained weights, at each task: the upper bound."""

    traits = Traits(
        memory=("all data",),
        incompatible_with={
            "exemplars": "joint training has all data already",
            "importances": "joint training starts from the pre-trained weights at each task: there is nothing to keep",
            "logits": "joint training starts from the pre-trained weights at each task: there is nothing to keep",
        },
        second_pass="it trains on all data again at each task",
        paper="upper bound",
    )
    state = ("_rows",)

    def __init__(self) -> None:
        super().__init__()
        self._bytes_per_image = 0
        self._rows = 0

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Note the size of an image.

        Raises:
            UserError: If images of a task would not compete with the classes of earlier tasks.
        """
        if learner.options.loss == "local":
            raise UserError("joint needs training.loss: global: it trains on images of all tasks at once")
        self._bytes_per_image = int(np.prod(scenario.table.images.shape[1:]))

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Keep the pre-trained weights; the weights of the interrupted run are loaded afterwards."""
        self._initial = PretrainedState(learner)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Restore the pre-trained weights and untrained heads."""
        if task.index == 0:
            self._initial = PretrainedState(learner)
        else:
            self._initial.restore(learner)

    def select_indices(self, learner: Learner, task: Task, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of all tasks so far, each once, even if a task comes back."""
        union = np.concatenate([seen.train for seen in learner.scenario.tasks[: task.index + 1]])
        union = union[np.sort(np.unique(union, return_index=True)[1])]
        self._rows = len(union)
        return union

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of all images seen so far."""
        return {"all data": self._rows * self._bytes_per_image}
