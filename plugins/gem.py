"""Gradient episodic memory (GEM)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from clsuite.plugin import Learner, Scenario, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import GradientProjection, full_precision, gradient_of


class GEM(GradientProjection):
    """Projects the gradient so that the loss on the exemplars of no earlier task rises.

    Lopez-Paz & Ranzato, "Gradient episodic memory for continual learning" (NeurIPS 2017), equations 8 to 11. Let g be
    the gradient of the batch and the rows of M the gradients of the mean loss on the exemplars of each earlier task. If
    any of them conflicts with g (g·m < 0), g is replaced by ``g + v M``, where v minimizes
    ``v (M M' + ridge I) v' / 2 + v M g`` with each entry at least `strength`, as in the authors' code. A larger
    strength favors steps that lower the loss of earlier tasks.

    The memory is shared evenly by all tasks of the stream. A task's exemplars are drawn at random; the paper takes the
    last ones that it has seen. The loss on exemplars is over all classes; the paper has a head for each task. `agem` is
    the cheap form with one constraint for all tasks: here, each step passes all exemplars.

    Args:
        capacity: Number of exemplars kept; null if `capacity_bytes` is given. (Paper, CIFAR-100: 256 for each task.)
        capacity_bytes: Size of the memory in bytes, given instead of `capacity`.
        strength: Smallest entry of v (authors' code: 0.5); 0 is the projection without a margin.
        ridge: What is added to the diagonal of M M' (authors' code: 1e-3).
    """

    traits = Traits(
        memory=("exemplars",),
        incompatible_with={
            "all data": "joint training has all data already",
            "projects gradients": "both project the gradient: the second projection undoes what the first one ensured",
        },
        paper="Lopez-Paz, NeurIPS 2017 (GEM)",
        buffer="reservoir",
        lends=True,
        effects=("projects gradients",),
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        strength: float = 0.5,
        ridge: float = 1e-3,
    ) -> None:
        super().__init__("gem", capacity, capacity_bytes)
        check_range("gem", at_least=0, strength=strength)
        check_range("gem", above=0, ridge=ridge)
        self.strength, self.ridge = strength, ridge

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Create the buffer, and divide it.

        Raises:
            UserError: If there are fewer places than tasks.
        """
        super().on_stream_start(learner, scenario)
        self._of_each = self.buffer.capacity // scenario.planned_tasks
        if not self._of_each:
            raise UserError(
                f"gem: a memory of {self.buffer.capacity} exemplars is too small for {scenario.planned_tasks} tasks: "
                f"give it a capacity of at least {scenario.planned_tasks}"
            )

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Find the exemplars of each earlier task; a task that recurs is one constraint."""
        super().on_task_start(learner, task)
        stored = self.buffer.indices.numpy()
        found = [np.isin(stored, earlier.train).nonzero()[0] for earlier in learner.scenario.tasks[: task.index]]
        kept = {tuple(positions.tolist()): positions for positions in found if len(positions)}
        self._memories = [torch.from_numpy(positions) for positions in kept.values()]

    def projected(self, learner: Learner, gradient: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor | None:
        """Project the gradient if a step along it would increase the loss of an earlier task."""
        if not self._memories:
            return None
        rows = []
        for positions in self._memories:
            batch = self.buffer.batch(positions, with_images=not learner.uses_cached_features)
            rows.append(gradient_of(learner.rehearse(batch), parameters))
            learner.count_gradients(len(positions))
        memories = torch.stack(rows)
        with full_precision(gradient):
            if not bool((memories @ gradient < 0).any()):
                return None
            return gradient + dual_weights(memories, gradient, self.strength, self.ridge) @ memories

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Store exemplars of the task."""
        drawn = torch.randperm(len(task.train), generator=self.draws)[: self._of_each]
        indices = task.train[drawn.numpy()]
        self.buffer.add(learner.images_of, learner.labels_of(indices).cpu(), torch.from_numpy(indices), self.draws)


def dual_weights(memories: Tensor, gradient: Tensor, strength: float, ridge: float) -> Tensor:
    """The minimizer ``[T]`` of ``v (M M' + ridge I) v' / 2 + v M g`` with all entries of v at least `strength`.

    With v = u + strength and M M' + ridge I = A' A it is the problem of non-negative least squares of ``A u``.

    Args:
        memories: M ``[T, P]``.
        gradient: g ``[P]``.
        strength: The bound.
        ridge: Positive, so that there is one minimizer.
    """
    gram = (memories @ memories.T).double().cpu().numpy() + ridge * np.eye(len(memories))
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    root = np.sqrt(values.clip(min=ridge))
    linear = (memories @ gradient).double().cpu().numpy() + strength * gram.sum(axis=1)
    found, _ = nnls(root[:, None] * vectors.T, -(vectors.T @ linear) / root)
    return torch.from_numpy(found + strength).to(memories)
