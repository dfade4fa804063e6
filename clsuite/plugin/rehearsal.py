"""The base class of methods that store exemplars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from clsuite.data.buffer import ExemplarBuffer
from clsuite.data.buffer_policy import Policy, check_capacity
from clsuite.data.on_device import moved
from clsuite.errors import UserError
from clsuite.plugin.base import Plugin

if TYPE_CHECKING:
    from clsuite.data.batch import Batch
    from clsuite.learner.learner import Learner
    from clsuite.learner.step import Step
    from clsuite.scenarios import Scenario, Task


class RehearsalPlugin(Plugin):
    """A method that stores exemplars: creates, saves and counts the buffer, and seeds the random draws of each task.

    A subclass fills the buffer at the start or end of a task (``self.buffer.add_task``) or at its steps (`add_step`).

    A plugin with ``traits.borrows`` uses the buffer of an earlier plugin with ``traits.lends``, if there is one, and
    neither fills, saves nor counts it.

    Attributes:
        buffer: The exemplars; recreated for the stream.
        borrows: Whether the buffer is that of another plugin.
        draws: Random number generator of the task, on the CPU.
    """

    state: ClassVar[tuple[str, ...]] = ("buffer",)

    def __init__(
        self,
        owner: str,
        capacity: int | None,
        capacity_bytes: int | None = None,
        policy: Policy = "reservoir",
        with_logits: bool = False,
    ) -> None:
        """Check the capacity.

        Args:
            owner: Name of the method, for messages and as the purpose of its random draws.
            capacity: Maximum number of exemplars; None if the size is given in bytes.
            capacity_bytes: Maximum number of bytes.
            policy: The selection of exemplars.
            with_logits: Whether each exemplar is stored with a logit for each class of the stream.

        Raises:
            UserError: If both or none of the capacities are given, or the capacity is less than one exemplar.
        """
        super().__init__()
        check_capacity(owner, capacity, capacity_bytes, policy, with_logits)
        self._owner, self._with_logits = owner, with_logits
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self.buffer, self.borrows = ExemplarBuffer(0, policy), False

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Create the buffer, or borrow one.

        Raises:
            UserError: If the plugin that lends its exemplars comes after this one, or there are several.
        """
        borrowed = self._borrowed(learner) if self.traits.borrows else None
        self.borrows = borrowed is not None
        self.buffer = self._new_buffer(scenario) if borrowed is None else borrowed

    def _new_buffer(self, scenario: Scenario) -> ExemplarBuffer:
        policy, given = self.buffer.policy, (self._capacity, self._capacity_bytes)
        return ExemplarBuffer.for_stream(scenario, *given, policy=policy, logits=self._with_logits, owner=self._owner)

    def _borrowed(self, learner: Learner) -> ExemplarBuffer | None:
        """The buffer that another plugin of the method lends."""
        lenders = [plugin for plugin in learner.plugins if plugin.lent_buffer() is not None]
        if len(lenders) > 1:
            names = " and ".join(type(plugin).__name__ for plugin in lenders)
            raise UserError(
                f"{self._owner} borrows the exemplars of one plugin, but {names} store exemplars: remove one of them"
            )
        if any(plugin in learner.plugins[learner.plugins.index(self) :] for plugin in lenders):
            raise UserError(
                f"{self._owner} must come after the plugin that stores exemplars, as in [replay, {self._owner}]"
            )
        return lenders[0].lent_buffer() if lenders else None

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Create the random number generator of the task, and reset the record of added samples."""
        self.draws = learner.generator(self._owner)
        self._added = torch.zeros(len(learner.scenario.table), dtype=torch.bool)
        self._of_task = self._added.index_fill(0, torch.tensor(task.train), True)

    def extend(self, batch: Batch, number: int | None = None) -> Batch:
        """Append exemplars to a batch, if there are any; stored logits are in the column ``logits``.

        Args:
            batch: The batch.
            number: Number of exemplars; by default the number of the batch's own samples.
        """
        number = batch.own if number is None else number
        if not len(self.buffer) or not number:
            return batch
        return self.extend_by(batch, self.buffer.sample_indices(number, self.draws))

    def extend_by(self, batch: Batch, chosen: Tensor) -> Batch:
        """Append given exemplars to a batch; stored logits are in the column ``logits``.

        Args:
            batch: The batch.
            chosen: Their positions in the buffer.
        """
        buffer = self.buffer
        images, labels, indices = buffer.images[chosen], buffer.labels[chosen], buffer.indices[chosen]
        return batch.extended(images, labels, indices, **buffer.columns_of(chosen))

    def rehearse(self, learner: Learner, number: int) -> tuple[Tensor, Step]:
        """Draw exemplars and run them through the model with gradients; they are counted as samples.

        Args:
            learner: The model.
            number: Number of exemplars; all if there are fewer.

        Returns:
            Their positions in the buffer, and the step.
        """
        chosen = self.buffer.sample_indices(number, self.draws)
        learner.gradient_samples += len(chosen)
        return chosen, learner.rehearse(self.buffer.batch(chosen, with_images=not learner.uses_cached_features))

    def first_seen(self, batch: Batch) -> Tensor:
        """Mark the batch's own samples as seen in this task.

        Args:
            batch: A training batch; exemplars of plugins are left out, whether they are appended to batches or to the
                images of the task.

        Returns:
            Which of its samples were not marked before, bool ``[B]`` on the CPU.
        """
        host = batch.host
        new = self._are_new(host) & ~self._added[host.indices]
        self._added[host.indices[new]] = True
        return new

    def _are_new(self, host: Batch) -> Tensor:
        """Which samples of a batch on the CPU are the task's own, and no exemplars."""
        return ~host.replayed & self._of_task[host.indices]

    def add_step(self, learner: Learner, step: Step, again: bool = False) -> None:
        """Offer the samples of a training step to the buffer, with their current logits if logits are stored.

        Exemplars of plugins are left out, whether they are appended to the batch or to the images of the task.

        Args:
            learner: The model.
            step: The step.
            again: Also offer samples that were already offered in this task, each time with other logits.
        """
        host = step.batch.host
        new = self.first_seen(step.batch) if not again else self._are_new(host)
        indices, labels, logits = host.indices[new], host.labels[new], None
        if not len(indices):
            return
        if self._with_logits:
            current = step.logits.detach()[moved(new.nonzero().flatten(), step.logits.device)].float()
            logits = current.new_full((len(indices), len(learner.scenario.classes)), float("nan"))
            logits[:, : current.shape[1]] = current
        self.buffer.add(learner.images_of, labels, indices, self.draws, logits=logits, again=again)

    def stored_bytes(self) -> dict[str, int]:
        """Count the bytes of the exemplars, and of their logits if ``traits.memory`` has ``logits``."""
        if self.borrows:
            return {}
        sizes = super().stored_bytes() | {"exemplars": self.buffer.bytes}
        return sizes | ({"logits": self.buffer.logit_bytes} if "logits" in self.traits.memory else {})

    def state_dict(self) -> dict[str, Any]:
        """Return the attributes declared in ``state``, without a borrowed buffer."""
        return {name: value for name, value in super().state_dict().items() if not (self.borrows and name == "buffer")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        super().load_state_dict({"buffer": self.buffer.state_dict(), **state_dict} if self.borrows else state_dict)
