"""Sparse adaptation for fine-tuning (SAFT)."""

from __future__ import annotations

from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from clsuite.plugin import Learner, Plugin, Task, Traits, check_range, classification_loss, warm_up_head
from clsuite.plugin.helpers import BatchLoader

SCALE = "clip.logit_scale"


class SAFT(Plugin):
    """Fine-tunes only those weights of the backbone whose gradient is largest at its start.

    Nguyen et al., "SAFT: towards out-of-distribution generalization in fine-tuning" (ECCV 2024), section 3. The score
    of a weight is the magnitude of its mean gradient over the training images (not its mean magnitude), with the
    cross-entropy that trains (``training.loss``). Of the backbone weights that are trained, the share with the largest
    scores, by one threshold for all, is trained. The rest is restored after each step, because weight decay and
    momentum move weights that have no gradient. The head is trained whole. With ``training.gradient_clip``, the
    gradient is clipped by the norm of all its entries, whether selected or not.

    The paper scores and trains both towers of CLIP with its zero-shot head: use
    ``training: {head: zero_shot, tune: both}``. CLIP's logit scale is neither scored nor moved: it is one number, whose
    gradient is that of all images. By default (``tune: image``) share and weights are those of the image
    tower only. The gradients of a new linear head are meaningless, so it is trained on frozen features first
    (`head_epochs`). The paper has no stream of tasks.

    Args:
        share: Share of the backbone's weights that is trained (paper: 0.001).
        rescore: ``once`` (at the first task) or ``task`` (at the start of each task, with the current weights; ours).
        head_epochs: Number of epochs in which the new part of the head is trained on frozen features before weights are
            scored.
        head_lr: Learning rate (Adam) of this training of the head.
    """

    traits = Traits(
        memory=("masks",),
        second_pass="it scores the weights on the task's images before training",
        incompatible_with={
            "all data": "joint training goes back to the pre-trained weights at each task",
            "tunes between steps": "saft puts weights back after each step, and with them what was tuned between steps",
        },
        paper="Nguyen, ECCV 2024 (SAFT)",
        effects=("warms up head", "scores weights", "resets weights"),
    )
    state = ("_masks",)

    def __init__(
        self,
        share: float = 0.001,
        rescore: Literal["once", "task"] = "once",
        head_epochs: int = 5,
        head_lr: float = 0.01,
    ) -> None:
        super().__init__()
        check_range("saft", above=0, at_most=1, share=share)
        self.share, self.rescore, self.head_epochs, self.head_lr = share, rescore, head_epochs, head_lr
        self._masks: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Warm up the new part of the head, score the weights and copy those that must not move."""
        if learner.scenario.seen_classes(task.index + 1) > learner.scenario.seen_classes(task.index):
            features, generator = learner.features_of(task.train), learner.generator("saft")
            warm_up_head(learner, task, features, epochs=self.head_epochs, lr=self.head_lr, generator=generator)
        if not self._masks or self.rescore == "task":
            self._masks = top_share(self._scores(learner, task), self.share)
        self._masks = {name: mask.to(learner.device) for name, mask in self._masks.items()}
        self._start = {name: value.detach().clone() for name, value in learner.backbone.named_parameters()}

    def _scores(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """Magnitude of the mean gradient of the cross-entropy over the task's training images, not augmented."""
        named = learner.backbone.named_parameters()
        parameters = {name: value for name, value in named if value.requires_grad and name != SCALE}
        sums = [torch.zeros_like(value) for value in parameters.values()]
        loader = BatchLoader(learner.scenario.table, learner.scenario.labels, task.train, learner.options.batch_size)
        was_training = learner.training
        learner.eval()
        for batch in loader:
            batch = batch.to(sums[0].device)
            assert batch.images is not None
            with learner.autocast():
                logits = learner.head(learner.backbone(learner.backbone.normalize(batch.images)))
            loss = len(batch) * classification_loss(logits, batch.labels, learner.options.loss, task.classes)
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
        """Restore the weights that are not selected."""
        assert isinstance(pl_module, Learner)
        for name, value in pl_module.backbone.named_parameters():
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


def top_share(scores: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Masks of the ``round(share * entries)`` largest of the entries of all tensors, at least one."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[torch.topk(flat, max(1, round(share * len(flat)))).indices] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}
