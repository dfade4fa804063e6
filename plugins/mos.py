"""MOS: an adapter of each task that is merged a little with the earlier ones, and chosen anew at test time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.peft import TaskModules, choose_blocks, transformer_blocks
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Step, Task, Traits, check_range
from clsuite.plugin.helpers import (
    AlignmentSettings,
    ClassGaussians,
    align_head,
    check_alignable,
    full_precision,
    self_contrast,
)


class MOS(Plugin):
    """Merges each task's adapter a little with earlier ones, and refines the choice of the adapter for each image.

    Sun et al., "MOS: model surgery for pre-trained model-based class-incremental learning" (AAAI 2025); no exemplars.

    * Training: an AdaptFormer in all blocks goes on from task to task, and a copy is kept of it as each task left it.
      After every step from the second task on ``A <- (1 - alpha) A + alpha mean(A_0 .. A_t-1)``. To the cross-entropy
      a contrast is added: each feature and each mean of an older class is to be most like itself among all of them.
    * At a task's end the mean and covariance of its classes are stored, and the head is trained on features drawn from
      the Gaussians of all classes. The next task goes on from there.
    * Prediction: prototypes (class means under the first adapter) name a first class; its task's adapter is taken. The
      head's answer under it names a class again, until the task stays the same, or four answers were given. The last
      one's softmax and that of the prototypes' cosines times the number of tasks are added up.

    In the authors' code the merging stands in a loop over blocks inside of every forward pass: with 12 of them a step
    draws the adapter 75 % of the way, the passes for statistics all of it, and an evaluation changes the kept ones.
    Here it is done once a step, as in the paper, and kept adapters never change. ``merge: code`` is what the code comes
    to with many batches: a step merges once more for each block, and at a task's end the adapter becomes the mean of
    the earlier ones as they were trained. Older classes' parts of the head rest (there, they decay), and the rate falls
    over the steps (there, over the epochs).

    The traits have the authors' training on CIFAR-100. Epochs and batch size are the benchmark's (authors: 20 and 48;
    on ImageNet-R 10 and 16). Features of test images under kept adapters are computed once while a run lasts.

    Args:
        size: Hidden units of an adapter (authors: 16).
        blocks: The transformer blocks that get an adapter: ``all`` (paper), ``0-4``, ``0,2,5``.
        alpha: How far each merging moves the adapter towards the mean of earlier ones (authors: 0.1).
        merge: Once a ``step`` (paper), or as the authors' ``code`` (most published numbers).
        contrast: Weight of the contrast (authors: 0.1).
        temperature: Temperature of the contrast (authors: 0.8).
        answers: Largest number of answers of the head for an image (authors: 4).
        align_epochs: Epochs of the alignment (authors: 30).
        align_lr: Its learning rate at the start (authors: 0.005).
        samples: Features of a class in an epoch, and of a batch; by default five times the training's batch (authors).
        align_decay: Weight decay of the alignment; by default the training's (as in the authors' code).
        covariance: ``full``, or ``diagonal`` (authors on ImageNet-A).
        ridge: Added to the variances for the draws (as in other codes: 1e-4).
        adapter_scale: What an adapter's output is multiplied with (authors: 0.1).
        adapter_dropout: Dropout probability of an adapter's hidden units in training (authors: 0.1).
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit", "gradient"),
        memory=("modules", "statistics", "prototypes"),
        pet=("adaptformer",),
        incompatible_with={
            "all data": "joint training needs neither kept adapters nor alignment",
            "weights": "the head would be aligned to features of other weights",
            "statistics": "its head is aligned already, by statistics of its own",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        training={
            "loss": "local",
            "head": "linear",
            "head_init": 0.02,
            "head_classes": "seen",
            "schedule": "cosine",
            "optimizer": {"name": "sgd", "momentum": 0.9, "lr": 0.03, "head_lr": 0.003, "weight_decay": 5e-4},
        },
        scores="probabilities",
        paper="Sun, AAAI 2025 (MOS)",
    )
    state = ("_gaussians", "_prototypes", "_ended", "_merged")

    def __init__(
        self,
        size: int = 16,
        blocks: str = "all",
        alpha: float = 0.1,
        merge: Literal["step", "code"] = "step",
        contrast: float = 0.1,
        temperature: float = 0.8,
        answers: int = 4,
        align_epochs: int = 30,
        align_lr: float = 0.005,
        samples: int | None = None,
        align_decay: float | None = None,
        covariance: Literal["full", "diagonal"] = "full",
        ridge: float = 1e-4,
        adapter_scale: float = 0.1,
        adapter_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_range("mos", at_least=1, size=size, answers=answers, align_epochs=align_epochs, samples=samples)
        check_range("mos", at_least=0, at_most=1, alpha=alpha)
        check_range("mos", at_least=0, contrast=contrast, align_decay=align_decay)
        check_range("mos", above=0, temperature=temperature, align_lr=align_lr, ridge=ridge)
        self._adapter = {"adapter_scale": adapter_scale, "adapter_dropout": adapter_dropout}
        self.size, self.blocks, self.alpha, self.merge, self.answers = size, blocks, alpha, merge, answers
        self.contrast, self.temperature = contrast, temperature
        self.samples, self.align_decay, self.covariance, self.ridge = samples, align_decay, covariance, ridge
        self._alignment = AlignmentSettings(align_lr, align_epochs)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Attach the adapters; a head that has no weights, or does not grow by each task's classes, is refused."""
        check_alignable("mos", learner)
        merged = 1 + len(choose_blocks(transformer_blocks(learner.backbone.model), self.blocks))
        self._share = self.alpha if self.merge == "step" else 1 - (1 - self.alpha) ** merged
        build = {"size": self.size, "blocks": self.blocks, **self._adapter, "generator": learner.generator("mos")}
        self.adapters = TaskModules(learner, self, len(scenario.tasks), "adaptformer", **build)
        self._gaussians = ClassGaussians(learner.backbone.width, self.covariance, self.ridge, "absolute")
        self._prototypes, self._ended = torch.zeros(0, learner.backbone.width), 0
        self._merged: dict[str, Tensor] = {}

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Let the head's older parts rest, and compute the mean of the kept adapters."""
        learner.head.freeze(range(len(learner.head.sizes) - 1))
        self._older = self._gaussians.means.to(learner.device)
        if self.merge == "step" and self._ended:
            self._merged = self.adapters.mean(self._ended)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The contrast of the batch's features and the means of older classes."""
        if not self.contrast:
            return None
        return self.contrast * self_contrast(torch.cat([self._older, step.features.float()]), self.temperature)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the adapter towards the mean of the earlier ones."""
        self.adapters.move(self._merged, self._share)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Keep the adapter, statistics and prototypes of the task, and align the head."""
        labels, code = learner.labels_of(task.train), self.merge == "code"
        self._merged = self.adapters.drawn_in(self._merged, self._ended) if code else {}
        self._gaussians.add(learner.features_of(task.train), labels)
        self.adapters.keep(self._ended)
        under_first = self.adapters.of_rows(0, task.train)
        new = [under_first[labels == label].mean(dim=0) for label in range(len(self._prototypes), learner.seen)]
        self._prototypes, self._ended = torch.cat([self._prototypes, torch.stack(new).cpu()]), self._ended + 1
        if task.index:
            decay = learner.options.optimizer.weight_decay if self.align_decay is None else self.align_decay
            samples = self.samples or 5 * learner.options.batch_size
            settings = replace(self._alignment, samples=samples, weight_decay=decay)
            align_head(learner, self._gaussians, settings, learner.generator("mos alignment"))

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Mean probability of the refined head and the prototypes; the head alone until its task has ended."""
        seen = learner.seen
        if len(self._prototypes) < seen:
            answer: Tensor = learner.head(learner.encode(batch))
            return answer[:, :seen].float().softmax(dim=1)
        features = [self.adapters.of_batch(number, batch) for number in range(self._ended)]
        with full_precision(features[0]):
            logits = torch.stack([learner.head(under)[:, :seen] for under in features])
            prototypes = F.normalize(self._prototypes, dim=1).to(logits.device)
            cosines = F.normalize(features[0], dim=1) @ prototypes.T
        sizes = torch.tensor(learner.head.sizes, device=logits.device)
        owners = torch.arange(len(sizes), device=logits.device).repeat_interleave(sizes)
        chosen = refined(logits, owners, owners[cosines.argmax(dim=1)], self.answers)
        of_chosen = logits[chosen, torch.arange(len(batch), device=logits.device)]
        return (of_chosen.softmax(dim=1) + (self._ended * cosines).softmax(dim=1)) / 2

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the kept adapters, of the class statistics and of the prototypes."""
        modules, prototypes = (self._ended + bool(self._merged)) * self.adapters.bytes, 4 * self._prototypes.numel()
        return {"modules": modules, "statistics": self._gaussians.bytes, "prototypes": prototypes}


def refined(logits: Tensor, owners: Tensor, first: Tensor, answers: int) -> Tensor:
    """Adapters ``[B]`` of the last answers: each is that of the task of the class which the answer before names.

    Args:
        logits: Under each adapter, ``[T, B, C]``.
        owners: Task of each class ``[C]``.
        first: Adapter of each image ``[B]`` to begin with.
        answers: How many are given at most; where the task stays the same, all that would follow are the same.
    """
    chosen, samples = first, torch.arange(len(first), device=first.device)
    for _ in range(answers - 1):
        chosen = owners[logits[chosen, samples].argmax(dim=1)]
    return chosen
