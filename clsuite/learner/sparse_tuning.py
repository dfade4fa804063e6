"""The base of SAFT and SPU: of the backbone's weights, only those with the largest gradients are trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from clsuite.data.batch import BatchLoader
from clsuite.learner.warmup import warm_up_head
from clsuite.plugin.base import Plugin

if TYPE_CHECKING:
    import lightning as L
    import numpy as np
    from numpy.typing import NDArray

    from clsuite.learner.learner import Learner
    from clsuite.scenarios import Task

SCALE = "clip.logit_scale"
"""CLIP's logit scale, which is neither scored nor moved: it is one number, whose gradient is that of all images."""


class SparseTuning(Plugin, ABC):
    """Scores the weights of the backbone at a task's start, and puts those that are not chosen back after each step.

    Weight decay and momentum move weights that have no gradient, so that a mask of gradients does not hold them. A
    member says which weights are chosen, and when.
    """

    state: ClassVar[tuple[str, ...]] = ("_masks",)

    def __init__(self, owner: str, head_epochs: int, head_lr: float) -> None:
        """Set how the new part of the head is trained before weights are scored.

        Args:
            owner: Name of the method, as the purpose of its random draws.
            head_epochs: Number of epochs on frozen features.
            head_lr: Learning rate (Adam).
        """
        super().__init__()
        self.head_epochs, self.head_lr, self._owner = head_epochs, head_lr, owner
        self._masks: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}

    @abstractmethod
    def choose(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """Masks of the weights to train, bool in their shapes, by their names in the backbone."""

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Warm up the new part of the head, choose the weights, and copy those that must not move."""
        if learner.scenario.seen_classes(task.index + 1) > learner.scenario.seen_classes(task.index):
            features, generator = learner.features_of(task.train), learner.generator(self._owner)
            warm_up_head(learner, task, features, epochs=self.head_epochs, lr=self.head_lr, generator=generator)
        self._masks = self.choose(learner, task)
        self._masks = {name: mask.to(learner.device) for name, mask in self._masks.items()}
        self._start = {name: value.detach().clone() for name, value in learner.backbone.named_parameters()}

    def scores(
        self, learner: Learner, indices: NDArray[np.int64], objective: Callable[[Tensor, Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Magnitude of the summed gradient over images of the table, not augmented, of all trained backbone weights.

        In precision 16, whose gradients are too small where nothing scales them, it is computed in 32 bits.

        Args:
            learner: The learner.
            indices: Indices of the images.
            objective: A scalar of the logits ``[B, C]`` and labels ``[B]`` of a batch, summed over its images.
        """
        named = learner.backbone.named_parameters()
        parameters = {name: value for name, value in named if value.requires_grad and name != SCALE}
        sums = [torch.zeros_like(value) for value in parameters.values()]
        loader = BatchLoader(learner.scenario.table, learner.scenario.labels, indices, learner.options.batch_size)
        was_training = learner.training
        learner.eval()
        for batch in loader:
            batch = batch.to(sums[0].device)
            assert batch.images is not None
            with nullcontext() if learner.options.precision == "16" else learner.autocast():
                logits = learner.head(learner.backbone(learner.backbone.normalize(batch.images)))
            loss = objective(logits, batch.labels)
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            for total, gradient in zip(sums, gradients, strict=True):
                if gradient is not None:
                    total += gradient
            learner.gradient_samples += len(batch.labels)
        learner.train(was_training)
        return {name: total.abs() for name, total in zip(parameters, sums, strict=True)}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Put the weights back that are not chosen."""
        backbone: Any = pl_module.backbone
        for name, value in backbone.named_parameters():
            if name == SCALE and value.requires_grad:
                value.data.copy_(self._start[name])
            elif name in self._masks:
                torch.where(self._masks[name], value, self._start[name], out=value.data)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Delete the copy of the weights."""
        self._start = {}

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the masks, one bit for each weight."""
        return {"masks": sum(-(-mask.numel() // 8) for mask in self._masks.values())}
