"""Experience replay with an asymmetric cross-entropy (ER-ACE)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clsuite.plugin import (
    Batch,
    Learner,
    RehearsalPlugin,
    Scenario,
    Step,
    Task,
    Traits,
    UserError,
    check_range,
    classification_loss,
)

Policy = Literal["reservoir", "class_balanced"]


class ERACE(RehearsalPlugin):
    """New samples compete among the classes of their batch alone, and exemplars among all classes seen so far.

    Caccia et al., "New insights on reducing abrupt representation change in online continual learning" (ICLR 2022),
    section 4.2:

        loss = CE(batch, among the classes in the batch) + CE(exemplars, among all seen classes)

    New classes therefore do not push the old ones away while their features still overlap. They meet the old classes in
    the buffer, which for that reason is filled at each step and rehearses the current task too, from its first step on.

    A sample is offered to the buffer at its first step in a task, so that several epochs do not count it twice (in the
    authors' code, which passes once, at each step). Exemplars and new samples pass through the network as one batch
    (authors: as two, which matters to batch normalization alone). In the authors' code outputs of classes that have not
    come yet compete too; a growing head has none. Their head is one of cosines with a scale of 10 that is not trained,
    which `training: {head: cosine}` begins with.

    Args:
        capacity: Number of exemplars kept; null if `capacity_bytes` is given. (Paper: 20 to 100 for each class.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        buffer: ``reservoir`` (the paper's) or ``class_balanced``.
        batch_size: Number of exemplars added to each batch; null adds as many as the batch has samples of its own, as
            in the paper.
        compete: The classes that compete for new samples: those in the ``batch`` (the paper's), or all of the ``task``.
        offer: When samples are offered to the buffer: at each ``step`` (the paper's), or at the end of the ``task``, as
            in `replay`, so that new samples never compete with old classes.
    """

    traits = Traits(
        memory=("exemplars",),
        incompatible_with={"all data": "joint training has all data already"},
        paper="Caccia, ICLR 2022 (ER-ACE)",
        lends=True,
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        buffer: Policy = "reservoir",
        batch_size: int | None = None,
        compete: Literal["batch", "task"] = "batch",
        offer: Literal["step", "task"] = "step",
    ) -> None:
        super().__init__("er_ace", capacity, capacity_bytes, buffer)
        check_range("er_ace", at_least=1, batch_size=batch_size)
        self.batch_size, self.compete, self.offer = batch_size, compete, offer

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Create the buffer.

        Raises:
            UserError: If new samples would compete with nothing, neither in their batch nor as exemplars.
        """
        lonely = next((task for task in scenario.tasks if len(task.classes) == 1), None)
        if self.offer == "task" and lonely is not None:
            raise UserError(
                f"er_ace: task {lonely.index} ({lonely.name}) has one class, whose samples compete among the classes "
                "of the task alone, so that their loss is exactly 0: write offer: step, or take tasks of several"
            )
        super().on_stream_start(learner, scenario)

    def transform_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add exemplars to the batch."""
        return self.extend(batch, self.batch_size)

    def classification(self, learner: Learner, step: Step) -> Tensor:
        """The sum of both cross-entropies; a part without samples has none."""
        assert learner.task is not None
        host = step.batch.host
        present = torch.unique(host.labels[~host.replayed]).tolist()
        classes = present if self.compete == "batch" else list(learner.task.classes)
        terms = []
        if present:
            terms.append(self._term(learner, step, ~host.replayed, "local", classes))
        if host.replayed.any():
            terms.append(self._term(learner, step, host.replayed, "global", classes))
        return torch.stack(terms).sum()

    def _term(
        self, learner: Learner, step: Step, mask: Tensor, scope: Literal["global", "local"], classes: list[int]
    ) -> Tensor:
        """The cross-entropy of some samples of the step."""
        rows = mask.nonzero().flatten().to(step.logits.device)
        weights, targets = (
            None if column is None else column[rows] for column in map(step.batch.columns.get, ("weights", "targets"))
        )
        labels, smoothing = step.batch.labels[rows], learner.options.label_smoothing
        return classification_loss(step.logits[rows], labels, scope, classes, weights, targets, smoothing)

    def loss(self, learner: Learner, step: Step) -> None:
        """Add no loss; offer the batch's new samples to the buffer."""
        if self.offer == "step":
            self.add_step(learner, step)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Offer the task's samples to the buffer, if that is not done at each step."""
        if self.offer == "task":
            self.buffer.add_task(learner, task, self.draws)
