"""CoFiMA: SLCA whose weights are averaged with those of the task before, as far as Fisher information says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from clsuite.plugin import Learner, Task, check_range, classification_loss
from clsuite.plugin.helpers import head_values, set_weights, tensor_bytes, weights_of

from .slca import SLCA


class CoFiMA(SLCA):
    """After each task, all weights become a mean of those before and after it; then the head is aligned as in SLCA.

    Marouf et al., "Weighted ensemble models are strong continual learners" (ECCV 2024). Training, class statistics and
    alignment are those of `slca`. Between training and statistics, from the second task on, each weight becomes
    ``((1 - alpha) F_0 theta_0 + alpha F_1 theta_1) / ((1 - alpha) F_0 + alpha F_1)``. theta_0 is the whole network at
    the end of the task before, merged and aligned; theta_1 is what was trained, and F_0 and F_1 are the diagonals of
    the Fisher information after either training. With ``merge: plain`` all F are 1 (CoMA). As in the authors' code, the
    next task begins with the merged backbone, and with the head as it was trained, before merging and alignment.

    As in the code, F is the mean over a task's augmented batches of the squared gradient of the batch's mean loss, not
    of each image's, and is limited to 1e-4, which makes most weights count alike; the paper has no limit. Unlike the
    code, where both F of a weight are 0 it is averaged as in CoMA (there it becomes nan), and the rows of new classes,
    which have no theta_0, stay as they were trained (there they are multiplied with their F). F is of gradients of that
    pass alone (there old rows keep one of the last alignment), with the network in evaluation mode. In precision 16,
    whose gradients are too small where nothing scales them, it is computed in 32 bits.

    Args:
        alpha: Weight of what was trained (authors: 0.4; 0.5 on CUB, Cars and VTAB).
        merge: ``fisher`` (CoFiMA) or ``plain`` (CoMA).
        fisher_limit: Largest entry of the Fisher information (authors' code: 1e-4); null has no limit (paper).
        fisher_loss: Whose cross-entropy it is of: ``global`` over all seen classes (authors), or ``local`` over those
            of the task, as in training.
        lr: Learning rate of the backbone (authors: 1e-4).
        head_lr: Learning rate of the head, and of its alignment at the start (authors: 1e-2).
        epochs: Number of epochs of the alignment (authors: 5).
        samples: Number of features drawn for each class in an epoch, and of features in a batch (authors: 256).
        temperature: Temperature of the normalized logits (authors: 0.1; 0.05 on Cars).
        weight_decay: Weight decay of the alignment (authors: 5e-4).
        ridge: As of `slca`, like the next one.
        least_factor: Where the factor of older classes' means begins.
        milestone: Share of a task's epochs after which both learning rates are a tenth (authors: 18 of 20 epochs); null
            leaves it out, as does a benchmark that names a schedule.
    """

    traits = dataclasses.replace(
        SLCA.traits,
        memory=("statistics", "weights", "importances"),
        second_pass="it passes the task's images again to estimate the Fisher information",
        effects=("changes weights",),
        paper="Marouf, ECCV 2024 (CoFiMA)",
    )
    state = ("_gaussians", "_before", "_fisher")  # type: ignore[assignment]  # more names than the base has

    def __init__(
        self,
        alpha: float = 0.4,
        merge: Literal["fisher", "plain"] = "fisher",
        fisher_limit: float | None = 1e-4,
        fisher_loss: Literal["global", "local"] = "global",
        lr: float = 1e-4,
        head_lr: float = 1e-2,
        epochs: int = 5,
        samples: int = 256,
        temperature: float = 0.1,
        weight_decay: float = 5e-4,
        ridge: float = 1e-4,
        least_factor: float = 0.9,
        milestone: float | None = 0.9,
    ) -> None:
        super().__init__(lr, head_lr, epochs, samples, temperature, weight_decay, ridge, least_factor, milestone)
        check_range("cofima", at_least=0, at_most=1, alpha=alpha)
        check_range("cofima", above=0, fisher_limit=fisher_limit)
        self.alpha, self.merge = alpha, merge
        self.fisher_limit, self.fisher_loss = fisher_limit, fisher_loss
        self._before, self._fisher = dict[str, Tensor](), dict[str, Tensor]()

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Merge the weights, compute the statistics of the new classes, and align the head for the evaluation."""
        self._swap.replace(learner, head_values(learner))
        fisher = self._estimate(learner, task) if self.merge == "fisher" else {}
        if task.index > 0:
            trained = weights_of(learner, trained=True)
            set_weights(learner, merged(self._before, trained, self._fisher, fisher, self.alpha))
        self._gaussians.add(learner.features_of(task.train), learner.labels_of(task.train))
        if task.index > 0:
            self._align(learner)
        self._before, self._fisher = weights_of(learner, trained=True), fisher

    def _estimate(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """The diagonal of the Fisher information of what is trained, by the name of the weight."""
        parameters = {name: value for name, value in learner.named_parameters() if value.requires_grad}
        sums, number = {name: torch.zeros_like(value) for name, value in parameters.items()}, 0
        was_training, exact = learner.training, learner.options.precision == "16"
        learner.eval()
        for batch in learner.batches_of(task.train):
            logits = learner.step_of(batch, exact=exact).logits
            loss = classification_loss(logits, batch.labels, self.fisher_loss, task.classes)
            gradients = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
            for total, gradient in zip(sums.values(), gradients, strict=True):
                total += gradient.square()
            number += 1
            learner.count_gradients(len(batch))
        learner.train(was_training)
        limit = torch.inf if self.fisher_limit is None else self.fisher_limit
        return {name: (total / number).clamp_max(limit) for name, total in sums.items()}

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the class statistics, of the weights after the last task, and of their Fisher information."""
        kept = {"statistics": self._gaussians, "weights": self._before, "importances": self._fisher}
        return {kind: tensor_bytes(value) for kind, value in kept.items()}


def merged(
    old: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    old_fisher: Mapping[str, Tensor],
    new_fisher: Mapping[str, Tensor],
    alpha: float,
) -> dict[str, Tensor]:
    """The mean of old and new weights, each entry weighted by its Fisher information.

    Args:
        old: Weights by name; those of new ones that are missing here stay as they are.
        new: Weights by name.
        old_fisher: Diagonal Fisher information of the old weights; entries of names that are missing count alike.
        new_fisher: The same of the new weights.
        alpha: Weight of the new ones.

    Returns:
        Weights by the names of the new ones; each entry lies between the old and the new one.
    """
    means = {}
    for name, value in new.items():
        alike = torch.ones_like(value)
        first = (1 - alpha) * old_fisher.get(name, alike).to(value.device).double()
        second = alpha * new_fisher.get(name, alike).double()
        share = torch.where(first + second > 0, second / (first + second), alpha)
        means[name] = torch.lerp(old.get(name, value).to(value.device), value, share.to(value.dtype))
    return means
