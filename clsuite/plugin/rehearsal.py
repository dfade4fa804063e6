"""What methods that keep exemplars have in common."""

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
    """A method that keeps exemplars: makes, saves and counts the buffer, and begins the random draws of each task.

    A subclass fills the buffer: at a task's start or end (``self.buffer.add_task``) or at its steps (`add_step`).

    One that borrows (``traits.borrows``) uses the buffer of the plugin before it that lends its own, where there is
    one, and neither fills, saves nor counts it.

    Attributes:
        buffer: The exemplars; made again for the stream.
        borrows: Whether they are another plugin's.
        draws: Source of the task's random draws, on the CPU.
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
            capacity: Exemplars kept; None where a size is given.
            capacity_bytes: Bytes kept instead.
            policy: Which exemplars stay.
            with_logits: Whether each is stored with a logit for each class of the stream.

        Raises:
            UserError: If both or none of the capacities are given, or there is no place for an exemplar.
        """
        super().__init__()
        check_capacity(owner, capacity, capacity_bytes, policy, with_logits)
        self._owner, self._with_logits = owner, with_logits
        self._capacity, self._capacity_bytes = capacity, capacity_bytes
        self.buffer, self.borrows = ExemplarBuffer(0, policy), False

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Make the buffer, or borrow one.

        Raises:
            UserError: If the plugin that lends its exemplars comes after this one, or if there are several.
        """
        lent = self._lent(learner) if self.traits.borrows else None
        self.borrows = lent is not None
        self.buffer = self._made(scenario) if lent is None else lent

    def _made(self, scenario: Scenario) -> ExemplarBuffer:
        policy, given = self.buffer.policy, (self._capacity, self._capacity_bytes)
        return ExemplarBuffer.for_stream(scenario, *given, policy=policy, logits=self._with_logits, owner=self._owner)

    def _lent(self, learner: Learner) -> ExemplarBuffer | None:
        """The buffer that another plugin of the method lends."""
        lenders = [plugin for plugin in learner.plugins if plugin.lent_buffer() is not None]
        if len(lenders) > 1:
            names = " and ".join(type(plugin).__name__ for plugin in lenders)
            raise UserError(
                f"{self._owner} borrows the exemplars of one plugin, and {names} keep some: leave one of them out"
            )
        if any(plugin in learner.plugins[learner.plugins.index(self) :] for plugin in lenders):
            raise UserError(
                f"{self._owner} must come after the plugin that stores exemplars, as in [replay, {self._owner}]"
            )
        return lenders[0].lent_buffer() if lenders else None

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin the task's own draws; none of its samples has been added."""
        self.draws = learner.generator(self._owner)
        self._added = torch.zeros(len(learner.scenario.table), dtype=torch.bool)

    def extend(self, batch: Batch, number: int | None = None) -> Batch:
        """A batch followed by exemplars, or as it is where there are none; stored logits are its column ``logits``.

        Args:
            batch: The batch.
            number: How many exemplars; as many as the batch has samples of its own where it is None.
        """
        if not len(self.buffer):
            return batch
        chosen, buffer = self.buffer.sample_indices(number or batch.own, self.draws), self.buffer
        images, labels, indices = buffer.images[chosen], buffer.labels[chosen], buffer.indices[chosen]
        return batch.extended(images, labels, indices, **buffer.columns_of(chosen))

    def rehearse(self, learner: Learner, number: int) -> tuple[Tensor, Step]:
        """Pass exemplars that are drawn again through the model, with gradient; they are counted as samples.

        Args:
            learner: The model.
            number: How many, or all where there are fewer.

        Returns:
            Their positions in the buffer, and the pass.
        """
        chosen = self.buffer.sample_indices(number, self.draws)
        learner.gradient_samples += len(chosen)
        return chosen, learner.rehearse(self.buffer.batch(chosen, with_images=not learner.uses_cached_features))

    def add_step(self, learner: Learner, step: Step, again: bool = False) -> None:
        """Offer the samples of a training step, where logits are stored with what the head answers now.

        Exemplars that plugins added to the batch are left out.

        Args:
            learner: The model.
            step: The step.
            again: Offer those samples too that were offered in this task already, at each time with other logits.
        """
        host = step.batch.host
        indices, new = host.indices, ~host.replayed
        if not again:
            new &= ~self._added[indices]
        indices, labels, logits = indices[new], host.labels[new], None
        if not len(indices):
            return
        self._added[indices] = True
        if self._with_logits:
            answers = step.logits.detach()[moved(new.nonzero().flatten(), step.logits.device)].float()
            logits = answers.new_full((len(indices), len(learner.scenario.classes)), float("nan"))
            logits[:, : answers.shape[1]] = answers
        self.buffer.add(learner.images_of, labels, indices, self.draws, logits=logits, again=again)

    def stored_bytes(self) -> dict[str, int]:
        """Count the exemplars, and their logits where ``traits.memory`` has those."""
        if self.borrows:
            return {}
        sizes = super().stored_bytes() | {"exemplars": self.buffer.bytes}
        return sizes | ({"logits": self.buffer.logit_bytes} if "logits" in self.traits.memory else {})

    def state_dict(self) -> dict[str, Any]:
        """Give what is declared in ``state``, without a buffer that is borrowed."""
        return {name: value for name, value in super().state_dict().items() if not (self.borrows and name == "buffer")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        super().load_state_dict({"buffer": self.buffer.state_dict(), **state_dict} if self.borrows else state_dict)
