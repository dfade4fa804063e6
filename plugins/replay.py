"""Experience replay (ER)."""

from __future__ import annotations

from typing import Any, Literal

import torch

from clsuite.data.batch import Batch
from clsuite.data.buffer import ExemplarBuffer, exemplar_capacity, make_buffer
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin, Traits, check_range
from clsuite.scenarios import Scenario, Task

Policy = Literal["reservoir", "class_balanced", "herding"]


class Replay(Plugin):
    """Adds stored exemplars of earlier tasks to each batch: one cross-entropy over both.

    Chaudhry et al., "On tiny episodic memories in continual learning" (2019), algorithm 1. Exemplars are stored as
    un-augmented images and augmented anew each time. A task's samples are offered to the buffer once, at its end, so
    that several epochs do not count a sample twice and the buffer never repeats the current task; the paper's buffer
    is written at each step, and rehearses the current task too.

    What the buffer then holds is what a sampler that met each sample once, as it passed, would hold: only images that
    stay are read. So streams that pass once can be learned; herding, which passes a task through the network again,
    is refused there.

    Args:
        capacity: Exemplars kept, over all classes; null where `capacity_bytes` is given. (Buzzega et al. 2020 use 200,
            500 and 5120; 500 is the default of all plugins that keep exemplars.)
        capacity_bytes: Bytes kept instead.
        buffer: ``reservoir`` (the paper's best for large buffers), ``class_balanced`` or ``herding``; the latter two
            need at least one exemplar for each class.
        batch_size: Exemplars added to each batch; null adds as many as the batch has samples of its own, whatever
            other plugins add (the paper's choice).
    """

    traits = Traits(memory=("exemplars",), paper="Chaudhry, 2019 (ER)", lends=True)

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        buffer: Policy = "reservoir",
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        check_range("replay", at_least=1, batch_size=batch_size)
        exemplar_capacity(capacity, capacity_bytes, 1, "replay")
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self._policy: Policy = buffer
        self._batch_size = batch_size
        self.buffer = ExemplarBuffer(0, buffer)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Make the buffer."""
        self.buffer = make_buffer(
            "replay",
            self._policy,
            self._capacity,
            self._capacity_bytes,
            image_shape=scenario.table.images.shape[1:],
            classes=scenario.seen_classes(len(scenario.tasks)),
        )

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin the task's own stream of random draws."""
        self._draws = torch.Generator().manual_seed(learner.generator("replay").initial_seed())

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add exemplars."""
        if not len(self.buffer):
            return batch
        return batch.extended(*self.buffer.sample(self._batch_size or batch.own, self._draws))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Offer the task's samples to the buffer."""
        indices = task.train
        features = learner.features_of(indices).cpu() if self._policy == "herding" else None
        labels = learner.labels_of(indices).cpu()
        self.buffer.add(learner.images_of, labels, torch.from_numpy(indices), self._draws, features=features)

    def stored_bytes(self) -> dict[str, int]:
        """The exemplars."""
        return {"exemplars": self.buffer.bytes}

    def state_dict(self) -> dict[str, Any]:
        """The buffer."""
        return self.buffer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The buffer."""
        self.buffer.load_state_dict(state_dict)
