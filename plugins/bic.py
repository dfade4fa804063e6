"""Bias correction (BiC)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Batch, ExemplarBuffer, Learner, Scenario, Step, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import DistillingRehearsal


class BiC(DistillingRehearsal):
    """Distills the old model, and corrects the logits of new classes by two numbers fitted to images held out.

    Wu et al., "Large scale incremental learning" (CVPR 2019), as in the authors' code:

    * Some images of each class are never trained on. They are part of the memory, equally many of each seen class.
    * Stage 1: a later task is trained on its other images and the exemplars with ``(1 - share) * CE + share * KD``
      (equations 1 to 3). The teacher's logits are those that it was evaluated with, including its correction.
    * Stage 2: the network is fixed. ``alpha * logit + beta`` takes the place of a new class's logit (equation 4), and
      both numbers minimize the cross-entropy of the images held out, plus ``penalty / 2 * beta^2``.

    The correction of the latest task alone is in use, since the next model is distilled from corrected logits. Stage 2
    takes steps with Adam on all images held out at once, of which the logits are computed once without augmentation
    (authors: SGD with momentum at the rate of training, for twice as many epochs, on augmented images); its rate and
    number of steps are guesses. It passes nothing through the network and is not counted as gradient samples.

    Args:
        capacity: Number of exemplars kept, with those held out, at least two for each class; null if `capacity_bytes`
            is given. (Paper, CIFAR-100: 2,000; 500 is the default of all plugins that keep exemplars.)
        capacity_bytes: Size of the buffer in bytes, given instead of `capacity`.
        buffer: How exemplars are chosen; those held out are drawn at random.
        mix: ``shuffled``: exemplars are among the training data, as in the paper. ``batch``: each batch gets as many as
            it has samples of its own, as in `replay`.
        distillation: Share of the distillation in the loss; null takes the share of old classes among all seen ones.
        temperature: Temperature of the distillation (2).
        held_out: Share of the capacity that is held out; at least one image of each class is.
        steps: Number of steps of stage 2; 0 for no correction.
        lr: Learning rate of stage 2.
        penalty: Weight of the squared beta (authors: 0.1; paper: none).
    """

    traits = Traits(
        memory=("exemplars", "weights"),
        incompatible_with={
            "all data": "joint training has all data already",
            "averages weights": "the correction would not belong to the weights that are evaluated",
            "swaps weights": "the correction would not belong to the weights that are evaluated",
            "adds modules": "the old model that is distilled would have the modules of the new task",
            "exemplars": "other exemplars may be images that bic holds out: it rehearses its own",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        paper="Wu, CVPR 2019 (BiC)",
        lends=True,
        effects=("fits to weights",),
    )
    state = ("held", "_correction", "_corrected")

    def __init__(
        self,
        capacity: int | None = 500,
        capacity_bytes: int | None = None,
        buffer: Literal["reservoir", "class_balanced", "herding"] = "herding",
        mix: Literal["shuffled", "batch"] = "shuffled",
        distillation: float | None = None,
        temperature: float = 2.0,
        held_out: float = 0.1,
        steps: int = 200,
        lr: float = 0.01,
        penalty: float = 0.1,
    ) -> None:
        super().__init__("bic", capacity, capacity_bytes, buffer, mix)
        check_range("bic", at_least=0, at_most=1, distillation=distillation)
        check_range("bic", above=0, temperature=temperature, lr=lr)
        check_range("bic", above=0, below=1, held_out=held_out)
        check_range("bic", at_least=0, steps=steps, penalty=penalty)
        self.distillation, self.temperature, self.held_out = distillation, temperature, held_out
        self.steps, self.lr, self.penalty = steps, lr, penalty
        self.held = ExemplarBuffer(0, "class_balanced")
        self._correction, self._corrected, self._teacher = torch.tensor([1.0, 0.0]), [0, 0], torch.tensor([1.0, 0.0])

    def _new_buffer(self, scenario: Scenario) -> ExemplarBuffer:
        """Divide the capacity between the exemplars and the images held out.

        Raises:
            UserError: If there is no place for one of both for each class.
        """
        whole, classes = super()._new_buffer(scenario), len(scenario.classes)
        held = max(classes, round(self.held_out * whole.capacity))
        if whole.capacity - held < classes:
            raise UserError(
                f"bic: a memory of {whole.capacity} has fewer than two images for each of the stream's {classes} "
                f"classes, one of which is held out: give it a capacity of at least {2 * classes}"
            )
        self.held = ExemplarBuffer(held, "class_balanced")
        return ExemplarBuffer(whole.capacity - held, whole.policy)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Hold images of the new classes out; the teacher keeps its correction."""
        super().on_task_start(learner, task)
        self._teacher, self._correction = self._correction, torch.tensor([1.0, 0.0])
        random, labels = learner.generator("bic held out"), learner.labels_of(task.train).cpu()
        most, rows = self.held.capacity // learner.seen, []
        for label in torch.unique(labels).tolist():
            own = (labels == label).nonzero().flatten()
            number = min(max(most, 1), len(own) - 1)
            rows.append(own[torch.randperm(len(own), generator=random)[:number]])
        chosen = torch.cat(rows)
        indices = torch.from_numpy(task.train)[chosen]
        self.held.add(learner.images_of, labels[chosen], indices, random)

    def select_indices(self, learner: Learner, task: Task, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Leave the images held out away, and add the exemplars."""
        return super().select_indices(learner, task, indices[~np.isin(indices, self.held.indices.numpy())])

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        """Cross-entropy and distillation; the cross-entropy alone in the first task, or without distillation."""
        old = self.old_classes(learner)
        if not old or self.distillation == 0:
            return None
        teacher = self._correct(self.old.answers(learner, step.batch)[1][:, :old], self._teacher)
        return self.distilled(learner, step, teacher, self.distillation, self.temperature)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Fit the correction, and choose exemplars among the images that were trained on."""
        old, seen = self.old_classes(learner), learner.seen
        self._corrected = [old, seen]
        if old and self.steps:
            with torch.no_grad(), learner.autocast():
                logits = learner.head(learner.features_of(self.held.indices.numpy()))[:, :seen].float().cpu()
            self._correction = self.fit(logits, self.held.labels, old)
            learner.log("bic alpha", self._correction[0])
            learner.log("bic beta", self._correction[1])
        trained = task.train[~np.isin(task.train, self.held.indices.numpy())]
        super().on_task_end(learner, replace(task, train=trained))

    @torch.enable_grad()
    def fit(self, logits: Tensor, labels: Tensor, old: int) -> Tensor:
        """Fit alpha and beta, as a tensor of both.

        Args:
            logits: ``[N, C]`` of the images held out.
            labels: ``[N]``.
            old: Number of old classes, whose logits stay as they are.
        """
        both = torch.tensor([1.0, 0.0], requires_grad=True)
        optimizer = torch.optim.Adam([both], lr=self.lr)
        for _ in range(self.steps):
            corrected = torch.cat([logits[:, :old], both[0] * logits[:, old:] + both[1]], dim=1)
            loss = F.cross_entropy(corrected, labels) + self.penalty / 2 * both[1] ** 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return both.detach()

    def _correct(self, logits: Tensor, correction: Tensor) -> Tensor:
        """Logits ``[B, C]`` of which those of the last evaluated task's new classes are corrected."""
        first, last = self._corrected
        alpha, beta = correction.tolist()
        inside = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        inside[first:last] = True
        return torch.where(inside, alpha * logits + beta, logits)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """The head's logits with the correction ``[B, seen classes]``."""
        logits = learner.head(learner.encode(batch))[:, : learner.seen].float()
        return self._correct(logits, self._correction)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the exemplars, of the images held out, and of the old model kept while a task is trained."""
        sizes = super().stored_bytes()
        return sizes | {"exemplars": sizes["exemplars"] + self.held.bytes}
