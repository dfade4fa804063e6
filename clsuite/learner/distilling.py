"""The base of methods that train on a task and its exemplars together, and distill the model from before the task.

iCaRL's successors share this frame and differ in a term of the loss, in the head, or in what they do after a task:

* WA: the norms of the new classes' weights are aligned after the task.
* BiC: two numbers correct the new classes' logits, fitted to exemplars that are never trained on.
* LUCIR: cosines, features that are held in place of logits, and a margin between old and new classes.
* FOSTER: a second network learns what the first one lacks; then both are compressed into one.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.data.buffer import Policy
from clsuite.errors import UserError
from clsuite.learner.head import GrowingHead
from clsuite.learner.learner import Learner
from clsuite.learner.margins import step_loss
from clsuite.learner.old_model import OldModel
from clsuite.learner.step import Step
from clsuite.plugin.rehearsal import RehearsalPlugin
from clsuite.plugin.state import tensor_bytes
from clsuite.scenarios import Task

Mix = Literal["shuffled", "batch"]


class DistillingRehearsal(RehearsalPlugin):
    """A method with exemplars and the model from before the task.

    The exemplars are part of each later task's training data, as in the papers, and are chosen when a task ends. The
    old model's answers are computed for each augmented batch. It is kept while a task is trained, from when all plugins
    have begun the task: what they add at its start begins with the same values in both models.

    Attributes:
        mix: ``shuffled``: exemplars are shuffled among the task's images. ``batch``: each batch gets as many exemplars
            as it has samples of its own, as in `replay`.
        old: The model from before the task.
    """

    state: ClassVar[tuple[str, ...]] = ("_old_bytes",)

    def __init__(
        self,
        owner: str,
        capacity: int | None,
        capacity_bytes: int | None = None,
        policy: Policy = "herding",
        mix: Mix = "shuffled",
    ) -> None:
        """Check the capacity.

        Args:
            owner: Name of the method, for messages and as the purpose of its random draws.
            capacity: Maximum number of exemplars; None if the size is given in bytes.
            capacity_bytes: Maximum number of bytes.
            policy: The selection of exemplars.
            mix: How exemplars are mixed with the task's images; see the attribute.

        Raises:
            UserError: If both or none of the capacities are given, or the capacity is less than one exemplar.
        """
        super().__init__(owner, capacity, capacity_bytes, policy)
        self.mix, self.old, self._old_bytes = mix, OldModel(), 0

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Begin the random draws of the task."""
        super().on_task_start(learner, task)
        self.old.forget()

    def select_indices(self, learner: Learner, task: Task, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Add the exemplars to the training data."""
        stored = self.buffer.indices.numpy()
        return indices if self.mix == "batch" else np.concatenate([indices, stored[~np.isin(stored, indices)]])

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Keep the old model before the first step of a later task, and add exemplars if batches are to have some."""
        if self.old_classes(learner) and not self.old.values:
            self.old.keep(learner)
        return self.extend(batch) if self.mix == "batch" else batch

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Choose exemplars, and forget the old model."""
        self._old_bytes = max(self._old_bytes, tensor_bytes(self.old.values))
        self.old.forget()
        self.buffer.add_task(learner, task, self.draws)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the exemplars, and of the old model that is kept while a task is trained."""
        return super().stored_bytes() | {"weights": self._old_bytes}

    def old_classes(self, learner: Learner) -> int:
        """Number of classes of earlier tasks; their columns are the first ones."""
        assert learner.task is not None
        return learner.scenario.seen_classes(learner.task.index)

    def distilled(
        self, learner: Learner, step: Step, teacher: Tensor, share: float | None, temperature: float
    ) -> Tensor:
        """Cross-entropy and distillation of the old classes: ``(1 - share) * CE + share * KD`` (BiC, equation 3).

        KD is the cross-entropy of the student's softmax with the teacher's, without a factor for the temperature.

        Args:
            learner: The learner.
            step: The step.
            teacher: The old model's logits of the old classes ``[B, old classes]``.
            share: Share of the distillation; by default that of the old classes among all seen ones.
            temperature: What both logits are divided by.
        """
        share = teacher.shape[1] / learner.seen if share is None else share
        student = step.logits[:, : teacher.shape[1]].float()
        distillation = F.cross_entropy(student / temperature, (teacher / temperature).softmax(dim=1))
        return (1 - share) * step_loss(learner, step, step.logits) + share * distillation


def head_weights(learner: Learner, owner: str, cosine: bool = False) -> tuple[Tensor, Tensor | None]:
    """The weights ``[C, width]`` and biases ``[C]`` of all columns of a head, as copies without gradient.

    Args:
        learner: The learner.
        owner: Name of the method, for messages.
        cosine: Whether the head must be one of cosines, which has no biases, or a linear one.

    Raises:
        UserError: If the head is another one.
    """
    kind = "cosine" if cosine else "linear"
    if not isinstance(learner.head, GrowingHead) or learner.head.cosine != cosine:
        raise UserError(f"{owner} works on the weights of a {kind} head: it needs training.head: {kind}")
    groups = [learner.head.group_parameters(number) for number in range(len(learner.head.sizes))]
    parts = [torch.cat([group[place].detach() for group in groups]) for place in range(2 - cosine)] if groups else []
    return (parts[0], None if cosine else parts[1]) if parts else (torch.zeros(0, learner.head.width), None)
