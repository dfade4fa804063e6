"""Learning without forgetting (LwF)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.learner.learner import Learner, Step
from clsuite.learner.warmup import warm_up_head
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Task


class LwF(Plugin):
    """Distils the old model's answers on the new images: no stored data.

    Li & Hoiem, "Learning without forgetting" (ECCV 2016). Before each later task the old model's logits on the task's
    un-augmented images are computed once (section 3, "record responses"), the new part of the head is warmed up alone
    (section 3, "warm-up step"), and then everything is trained with cross-entropy plus the distillation loss
    (equation 2) on the old classes. Exemplars that another plugin adds are not distilled: their old answers were
    not recorded.

    Args:
        alpha: Weight of the distillation loss. The paper's lambda_o is 1; 0.5 is what class-incremental
            re-implementations use (Buzzega et al. 2020, Mammoth).
        temperature: Temperature T of both softmaxes (section 3: T = 2).
        warmup_epochs: Epochs of head-only training on the new images (paper: to convergence).
        warmup_lr: Learning rate (Adam) of the warm-up.
    """

    traits = Traits(
        stores=("logits",),
        refuses={
            "online": "it records old answers and warms up the head before training, which are passes of their own",
            "blurry": "it records old answers and warms up the head before training, which are passes of their own",
        },
        paper="Li, ECCV 2016 (LwF)",
    )

    def __init__(
        self, alpha: float = 0.5, temperature: float = 2.0, warmup_epochs: int = 5, warmup_lr: float = 0.01
    ) -> None:
        super().__init__()
        self.alpha, self.temperature = alpha, temperature
        self.warmup_epochs, self.warmup_lr = warmup_epochs, warmup_lr
        self._teacher: Tensor | None = None
        self._bytes = 0

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Record the old model's logits on the new images and warm up the new part of the head."""
        self._teacher, self._position = None, torch.zeros(0)
        if task.index == 0:
            return
        grown = learner.scenario.seen_classes(task.index + 1) > learner.scenario.seen_classes(task.index)
        old_classes = learner.scenario.seen_classes(task.index)
        features = learner.features_of(task.train)
        with torch.no_grad():
            self._teacher = learner.head(features)[:, :old_classes].float()
        self._bytes = self._teacher.numel() * self._teacher.element_size()
        self._position = torch.full((len(learner.scenario.table),), -1, device=features.device)
        self._position[torch.from_numpy(task.train).to(features.device)] = torch.arange(
            len(task.train), device=features.device
        )
        if grown:
            generator = torch.Generator().manual_seed(learner.generator("lwf").initial_seed())
            warm_up_head(learner, task, features, epochs=self.warmup_epochs, lr=self.warmup_lr, generator=generator)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Distillation on the old classes: alpha * T^2 * KL(teacher || student), mean over the task's own samples."""
        if self._teacher is None:
            return None
        position = self._position[step.batch.rows]
        known = (position >= 0) & ~step.batch.replayed
        teacher = self._teacher[position[known]] / self.temperature
        student = step.logits[known, : teacher.shape[1]].float() / self.temperature
        divergence = F.kl_div(
            F.log_softmax(student, dim=1), F.log_softmax(teacher, dim=1), reduction="batchmean", log_target=True
        )
        return self.alpha * self.temperature**2 * divergence

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Forget the recorded logits: they belong to the task's images."""
        self._teacher = None

    def stored_bytes(self) -> dict[str, int]:
        """The old model's logits, kept while a task is trained."""
        return {"logits": self._bytes}

    def state_dict(self) -> dict[str, Any]:
        """Size of the last recorded logits."""
        return {"bytes": self._bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Size of the last recorded logits."""
        self._bytes = state_dict["bytes"]
