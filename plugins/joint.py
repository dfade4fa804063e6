"""Joint training: the upper bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class Joint(Plugin):
    """Starts again from the pre-trained weights at each task and trains on all data seen so far: the upper bound."""

    traits = Traits(
        stores=("all data",),
        forbids={
            "exemplars": "joint training has all data already",
            "importances": "joint training starts from the pre-trained weights at each task: there is nothing to keep",
            "logits": "joint training starts from the pre-trained weights at each task: there is nothing to keep",
        },
        paper="upper bound",
    )

    def __init__(self) -> None:
        super().__init__()
        self._initial: dict[str, torch.Tensor] = {}
        self._bytes_per_image = 0
        self._rows = 0

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Keep the pre-trained weights."""
        self._initial = {name: value.detach().clone() for name, value in learner.backbone.state_dict().items()}
        self._bytes_per_image = int(np.prod(scenario.table.images.shape[1:]))

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Go back to the pre-trained weights and to untrained heads."""
        if task.index == 0:
            return
        learner.backbone.load_state_dict(self._initial)
        learner.head.reset(torch.Generator().manual_seed(learner.generator("joint head").initial_seed()))

    def training_rows(self, learner: Learner, task: Task, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of all tasks so far."""
        union = np.concatenate([seen.train for seen in learner.scenario.tasks[: task.index + 1]])
        self._rows = len(union)
        return union

    def stored_bytes(self) -> dict[str, int]:
        """All images seen so far."""
        return {"all data": self._rows * self._bytes_per_image}

    def state_dict(self) -> dict[str, Any]:
        """Number of images kept."""
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Number of images kept."""
        self._rows = state_dict["rows"]
