"""Selective parameter update (SPU)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.plugin import Learner, Scenario, Step, Task, Traits, UserError, check_range, classification_loss
from clsuite.plugin.helpers import ClassTexts, SparseTuning, clip_of

FIRST_LAYERS = ("mlp.fc1.weight", "mlp.c_fc.weight")
WHOLE = ("mlp.fc1.bias", "mlp.c_fc.bias", "visual.proj")


class SPU(SparseTuning):
    """Trains a tenth of the first layer of each MLP, chosen for each task by gradients; all else is frozen.

    Zhang et al., "Overcoming generic knowledge loss with selective parameter update" (CVPR 2024), and its code. Of the
    first layer of each block's MLP, in each tower that is trained (``tune``), the weights with the largest magnitude of
    the mean gradient are trained, a share of each layer, and all biases; so is CLIP's image projection. They are chosen
    at the start of each task, on some of its images. As in the code, the score is that of memory aware synapses: the
    gradient of the squared logits, not of the loss. The head is trained whole, if it has parameters, after its new part
    was trained on frozen features.

    Unlike the code, weights that are not chosen are put back after each step (there, gradients are masked, and weight
    decay moves them all); batches count alike in the score (there, earlier ones count more); and exemplars are another
    plugin's: the paper keeps a balanced buffer, ``[spu, {replay: {buffer: class_balanced}}]``. The paper trains both
    towers of CLIP with ``objective: pairs``, ``training: {head: zero_shot, tune: both}``, AdamW, rate 7.5e-6 and weight
    decay 0.2, 10 epochs of batches of 128.

    Args:
        share: Share of each first layer that is trained (paper: 0.1).
        scored: Share of the task's images on which weights are scored (code: 0.25).
        score: ``outputs`` (code: gradient of the squared logits) or ``loss`` (of the cross-entropy).
        objective: ``classes`` trains by the benchmark's cross-entropy; ``pairs`` by that of the image-text pairs of a
            batch in both directions, in which the text of another image counts as wrong, even of the same class (code).
        head_epochs: Number of epochs in which the new part of the head is trained on frozen features before weights are
            scored.
        head_lr: Learning rate (Adam) of this training of the head.
    """

    traits = Traits(
        requires=("vit",),
        memory=("masks",),
        second_pass="it scores the weights on the task's images before training",
        incompatible_with={
            "all data": "joint training goes back to the pre-trained weights at each task",
            "tunes between steps": "spu puts weights back after each step, and with them what was tuned between steps",
            "masks": "both choose the weights that are trained",
            "freezes for a task": "spu trains one layer of each block, of which another freezing may leave nothing",
            "trains other networks": "pairs are those of the images and texts of one network",
        },
        paper="Zhang, CVPR 2024 (SPU)",
        effects=("warms up head", "scores weights", "resets weights"),
    )

    def __init__(
        self,
        share: float = 0.1,
        scored: float = 0.25,
        score: Literal["outputs", "loss"] = "outputs",
        objective: Literal["classes", "pairs"] = "classes",
        head_epochs: int = 5,
        head_lr: float = 0.01,
    ) -> None:
        super().__init__("spu", head_epochs, head_lr)
        check_range("spu", above=0, at_most=1, share=share, scored=scored)
        check_range("spu", at_least=0, head_epochs=head_epochs)
        check_range("spu", above=0, head_lr=head_lr)
        self.share, self.scored, self.score, self.objective = share, scored, score, objective
        self._texts: ClassTexts | None = None

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze all weights of the backbone but those that can be chosen.

        Raises:
            UserError: If its blocks have no MLP of two layers, or image-text pairs are asked of a network without text.
        """
        named = dict(learner.backbone.named_parameters())
        if not any(name.endswith(FIRST_LAYERS) and value.requires_grad for name, value in named.items()):
            raise UserError("spu: the trained part of this backbone has no MLP whose first layer is fc1 or c_fc")
        for name, value in named.items():
            value.requires_grad_(value.requires_grad and name.endswith((*FIRST_LAYERS, *WHOLE)))
        if self.objective == "pairs":
            clip = clip_of(learner.backbone, "spu with objective: pairs")
            self._texts = ClassTexts(clip, scenario.class_names, first_only=learner.options.templates == "first")

    def choose(self, learner: Learner, task: Task) -> dict[str, Tensor]:
        """The largest scores of each first layer, and everything of the other parts."""
        number = max(1, int(self.scored * len(task.train)))
        drawn = torch.randperm(len(task.train), generator=learner.generator("spu images"))[:number]
        classes = list(task.classes) if learner.options.loss == "local" else slice(learner.seen)

        def objective(logits: Tensor, labels: Tensor) -> Tensor:
            if self.score == "outputs":
                return logits[:, classes].float().square().sum()
            return len(labels) * classification_loss(logits, labels, learner.options.loss, task.classes)

        scores = self.scores(learner, task.train[drawn.numpy()], objective)
        return {
            name: largest(score, self.share) if name.endswith(FIRST_LAYERS) else torch.ones_like(score).bool()
            for name, score in scores.items()
        }

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        """The contrastive loss of the image-text pairs of the batch; the usual loss without pairs."""
        if self._texts is None:
            return None
        labels = step.batch.labels
        known, position = labels.unique(return_inverse=True)
        texts = self._texts.encode(known.tolist())[position]
        logits = clip_of(learner.backbone, "spu").logits(step.features, texts)
        own = torch.arange(len(labels), device=labels.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def largest(scores: Tensor, share: float) -> Tensor:
    """A mask of the largest entries of a tensor: ``floor(share * entries)``, at least one."""
    chosen = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    chosen[torch.topk(scores.flatten(), max(1, int(share * scores.numel()))).indices] = True
    return chosen.view_as(scores)
