"""Sparse adaptation for fine-tuning (SAFT)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clsuite.plugin import Learner, Task, Traits, check_range, classification_loss
from clsuite.plugin.helpers import SparseTuning


class SAFT(SparseTuning):
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

    def __init__(
        self,
        share: float = 0.001,
        rescore: Literal["once", "task"] = "once",
        head_epochs: int = 5,
        head_lr: float = 0.01,
    ) -> None:
        super().__init__("saft", head_epochs, head_lr)
        check_range("saft", above=0, at_most=1, share=share)
        self.share, self.rescore = share, rescore

    def choose(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """Those with the largest gradients of the task's cross-entropy, by one threshold."""
        if self._masks and self.rescore == "once":
            return self._masks

        return top_share(self._scores(learner, task), self.share)

    def _scores(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """Magnitude of the summed gradient of the cross-entropy over the task's training images."""

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            return len(labels) * classification_loss(logits, labels, learner.options.loss, task.classes)

        return self.scores(learner, task.train, loss)


def top_share(scores: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Masks of the ``round(share * entries)`` largest of the entries of all tensors, at least one."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[torch.topk(flat, max(1, round(share * len(flat)))).indices] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}
