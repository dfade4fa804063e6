"""Experience replay (ER)."""

from __future__ import annotations

from typing import Literal

from clsuite.plugin import Batch, Learner, RehearsalPlugin, Task, Traits, check_range

Policy = Literal["reservoir", "class_balanced", "herding"]


class Replay(RehearsalPlugin):
    """Adds stored exemplars of earlier tasks to each batch, with one cross-entropy over both.

    Chaudhry et al., "On tiny episodic memories in continual learning" (2019), algorithm 1. Exemplars are stored without
    augmentation and augmented each time that they are used. A task's samples are offered to the buffer once, at the end
    of the task, so that several epochs do not count a sample twice and the buffer never repeats the current task. The
    paper's buffer is filled at each step, and rehearses the current task too.

    The buffer then holds what a sampler that saw each sample once would hold, and only the images that are kept are
    read. Streams that pass once can therefore be learned. Herding is refused there, because it passes a task through
    the network again.

    Args:
        capacity: Number of exemplars kept, over all classes; null if `capacity_bytes` is given. (Buzzega et al. 2020
            use 200, 500 and 5120; 500 is the default of all plugins that keep exemplars.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        buffer: ``reservoir`` (the paper's best for large buffers), ``class_balanced`` or ``herding``; the latter two
            need at least one exemplar for each class.
        batch_size: Number of exemplars added to each batch; null adds as many as the batch has samples of its own,
            whatever other plugins add (the paper's choice).
    """

    traits = Traits(memory=("exemplars",), paper="Chaudhry, 2019 (ER)", lends=True)

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        buffer: Policy = "reservoir",
        batch_size: int | None = None,
    ) -> None:
        super().__init__("replay", capacity, capacity_bytes, buffer)
        check_range("replay", at_least=1, batch_size=batch_size)
        self.batch_size = batch_size

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add exemplars to the batch."""
        return self.extend(batch, self.batch_size)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Offer the task's samples to the buffer."""
        self.buffer.add_task(learner, task, self.draws)
