"""Weight aligning (WA)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clsuite.plugin import Learner, Scenario, Step, Task, Traits, check_range
from clsuite.plugin.helpers import DistillingRehearsal, head_weights


class WA(DistillingRehearsal):
    """Distills the old model, and then scales the weights of new classes to the norm of the old ones.

    Zhao et al., "Maintaining discrimination and fairness in class incremental learning" (CVPR 2020). A later task is
    trained on its images and the exemplars with ``(1 - share) * CE + share * KD``, where the distillation KD of the old
    classes is the cross-entropy of both softmaxes at a temperature. Then the head's weights of each new class are
    multiplied with ``mean norm of the old classes' weights / mean norm of the new classes' weights``: since new classes
    have more samples, their weights grow larger. Biases do not change.

    No authors' code was found. That the share is the one of BiC, old classes among all, is a guess. The paper's
    clipping of the head's weights at zero, for features that are never negative, is left out.

    Args:
        capacity: Number of exemplars kept, over all classes; null if `capacity_bytes` is given. (Paper, CIFAR-100:
            2,000; 500 is the default of all plugins that keep exemplars.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        buffer: How exemplars are chosen.
        mix: ``shuffled``: exemplars are among the training data, as in the paper. ``batch``: each batch gets as many as
            it has samples of its own, as in `replay`.
        distillation: Share of the distillation in the loss; null takes the share of old classes among all seen ones.
        temperature: Temperature of the distillation (2).
        align: Whether weights are aligned.
    """

    traits = Traits(
        memory=("exemplars", "weights"),
        incompatible_with={
            "all data": "joint training has all data already",
            "averages weights": "the head that is aligned would not be the one that is evaluated",
            "trains other networks": "there is one old model to distill",
            "adds modules": "the old model that is distilled would have the modules of the new task",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        paper="Zhao, CVPR 2020 (WA)",
        effects=("changes weights",),
        lends=True,
    )

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        buffer: Literal["reservoir", "class_balanced", "herding"] = "herding",
        mix: Literal["shuffled", "batch"] = "shuffled",
        distillation: float | None = None,
        temperature: float = 2.0,
        align: bool = True,
    ) -> None:
        super().__init__("wa", capacity, capacity_bytes, buffer, mix)
        check_range("wa", at_least=0, at_most=1, distillation=distillation)
        check_range("wa", above=0, temperature=temperature)
        self.distillation, self.temperature, self.align = distillation, temperature, align

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Create the buffer; weights that cannot be aligned are refused."""
        super().on_stream_start(learner, scenario)
        if self.align:
            head_weights(learner, "wa")

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        """Cross-entropy and distillation; the cross-entropy alone in the first task, or without distillation."""
        old = self.old_classes(learner)
        if not old or self.distillation == 0:
            return None
        teacher = self.old.answers(learner, step.batch)[1][:, :old]
        return self.distilled(learner, step, teacher, self.distillation, self.temperature)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Align the weights, and choose exemplars."""
        if self.align and self.old_classes(learner):
            self._align(learner)
        super().on_task_end(learner, task)

    @torch.no_grad()
    def _align(self, learner: Learner) -> None:
        """Scale the weights of the new classes; a group of the head may have old and new classes."""
        old, seen = self.old_classes(learner), learner.seen
        norms = torch.linalg.vector_norm(head_weights(learner, "wa")[0], dim=1)
        factor = norms[:old].mean() / norms[old:seen].mean()
        learner.log("wa factor", factor)
        first = 0
        for group, size in enumerate(learner.head.sizes):
            weight = learner.head.group_parameters(group)[0]
            weight[max(old - first, 0) : max(seen - first, 0)] *= factor
            first += size
