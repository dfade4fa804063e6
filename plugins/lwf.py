"""Learning without forgetting (LwF)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Learner, Plugin, Step, Task, Traits, check_range, warm_up_head
from clsuite.plugin.helpers import row_positions, tensor_bytes


class LwF(Plugin):
    """Distills the old model's predictions on the new images, without stored data.

    Li & Hoiem, "Learning without forgetting" (ECCV 2016). Before each later task, the old model's logits for the task's
    images are computed once, without augmentation (section 3, "record responses"), and the new part of the head is
    trained alone (section 3, "warm-up step"). Then everything is trained with cross-entropy plus the distillation loss
    (equation 2) on the old classes. Exemplars that another plugin adds are not distilled, because the old model's
    logits for them are not recorded. The warm-up uses the run's own loss: over all seen classes if that is global. The
    paper has a head for each task; Mammoth uses the new classes only, as does ``loss: local``.

    Args:
        alpha: Weight of the distillation loss (paper: lambda_o = 1; Mammoth: 0.5, on this same scale).
        temperature: Temperature T of both softmaxes (section 3: T = 2).
        squared: Whether the loss is multiplied by T^2, so that the gradient does not shrink as T grows (Hinton et al.
            2015, section 2); the paper's equation has no such factor. At T = 2, alpha 0.25 with the factor equals alpha
            1 without it.
        warmup_epochs: Number of epochs in which only the new part of the head is trained (paper: to convergence).
        warmup_lr: Learning rate (Adam) of the warm-up.
    """

    traits = Traits(
        memory=("logits",),
        second_pass="it records old answers and warms up the head before training",
        paper="Li, ECCV 2016 (LwF)",
        effects=("reads network", "warms up head"),
    )
    state = ("_bytes",)

    def __init__(
        self,
        alpha: float = 1.0,
        temperature: float = 2.0,
        squared: bool = False,
        warmup_epochs: int = 5,
        warmup_lr: float = 0.01,
    ) -> None:
        super().__init__()
        check_range("lwf", at_least=0, alpha=alpha, warmup_epochs=warmup_epochs)
        check_range("lwf", above=0, temperature=temperature, warmup_lr=warmup_lr)
        self.alpha, self.temperature, self.squared = alpha, temperature, squared
        self.warmup_epochs, self.warmup_lr = warmup_epochs, warmup_lr
        self._teacher: Tensor | None = None
        self._bytes = 0

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Record the old model's logits for the new images and warm up the new part of the head."""
        if task.index == 0:
            return
        old, seen = (learner.scenario.seen_classes(tasks) for tasks in (task.index, task.index + 1))
        features = learner.features_of(task.train)
        with torch.no_grad():
            self._teacher = learner.head(features)[:, :old].float()
        self._bytes = tensor_bytes(self._teacher)
        self._position = row_positions(len(learner.scenario.table), task.train, features.device)
        if seen > old:
            epochs, lr, generator = self.warmup_epochs, self.warmup_lr, learner.generator("lwf")
            warm_up_head(learner, task, features, epochs=epochs, lr=lr, generator=generator)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Distillation on the old classes: alpha * KL(teacher || student), mean over the task's own samples.

        Its gradient is that of the paper's cross-entropy with the teacher (equation 2). There is no such loss for a
        batch without samples of the current task.
        """
        if self._teacher is None:
            return None
        position = self._position[step.batch.indices]
        known = (position >= 0) & ~step.batch.replayed
        if not known.any():
            return None
        teacher = self._teacher[position[known]] / self.temperature
        student = step.logits[known, : teacher.shape[1]].float() / self.temperature
        divergence = F.kl_div(
            F.log_softmax(student, dim=1), F.log_softmax(teacher, dim=1), reduction="batchmean", log_target=True
        )
        return self.alpha * (self.temperature**2 if self.squared else 1.0) * divergence

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Delete the recorded logits, which belong to the images of this task."""
        self._teacher = None

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the old model's logits, kept while a task is trained."""
        return {"logits": self._bytes}
