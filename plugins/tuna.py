"""TUNA: an adapter of each task, chosen by entropy, beside a universal one that is elected of all."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.peft import PET, TaskModules
from clsuite.plugin import Batch, GrowingHead, Learner, Plugin, Scenario, Step, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import (
    AlignmentSettings,
    ClassGaussians,
    align_head,
    check_alignable,
    cosface_loss,
    full_precision,
    nearness,
    reversed_nearness,
)


class TUNA(Plugin):
    """Answers with the least uncertain of the tasks' adapters, and with a universal one that is merged of all.

    Wang et al., "Integrating task-specific and universal adapters for pre-trained model-based class-incremental
    learning" (ICCV 2025).

    * Training: an AdaptFormer in all blocks goes on from task to task, and copies are kept. The head has cosines of
      a fixed scale, a group for each task. ``orthogonality`` keeps up-projections away from those of kept adapters.
    * At a task's end the universal adapter is elected, entry by entry: the sign is that of the mean over all kept
      adapters, the value the largest among those that have this sign. The mean and the covariance of the task's classes
      are stored, and the head is trained on features drawn from the Gaussians of all classes seen.
    * Prediction: of each image the kept adapter under which the probabilities have the least entropy is taken. Its
      probabilities and those under the universal adapter are added up. After the first task there is one adapter.

    As in the code, an adapter begins with what the last task left: the election is one of weights. What differs:

    * There, steps move kept adapters and, by weight decay, older groups of the head. Here they never change.
    * The alignment's rate falls once (there its cosine swings: ``period: 5``). With ``means: nearness`` older classes'
      means are drawn to zero, as in SLCA; the code means to, but by a slip draws newer ones more (``means: code``).
    * The learning rate falls as a cosine over the steps (there, over the epochs). As in the code, positive and negative
      overlaps of two up-projections cancel.

    The traits have the authors' training on CIFAR-100 (on ImageNet-R a rate of 0.02). Epochs and batch size are the
    benchmark's (authors: 15 and 16, 10 and 32). Features of test images under kept adapters are computed once in a run.

    Args:
        size: Hidden units of an adapter (authors: 16).
        blocks: The transformer blocks that get an adapter: ``all`` (paper), ``0-4``, ``0,2,5``.
        scale: Scale of the cosines, not trained (authors: 20).
        margin: What is taken off the true class's cosine in training (authors: 0).
        orthogonality: Weight of overlaps with kept adapters, times exp(-tasks) (authors: 0; on ImageNet-R 1e-3).
        align_epochs: Epochs of the alignment (authors: 30).
        align_lr: Its learning rate at the start (authors: 0.005).
        samples: Features of a class in an epoch, and of a batch; by default five times the training's batch (authors).
        align_decay: Weight decay of the alignment (authors: 5e-4).
        period: Epochs until the alignment's rate is zero; null takes all of them.
        means: ``plain`` (CIFAR-100), ``nearness`` (older classes' nearer to zero), ``code`` (newer ones'; ImageNet-R).
        least_factor: Where ``nearness`` begins, as in SLCA (0.9).
        ridge: Added to the variances for the draws (authors: 1e-4).
        adapter_scale: What an adapter's output is multiplied with (authors: 0.1).
        adapter_dropout: Dropout probability of an adapter's hidden units in training (authors: 0.1).
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit", "gradient"),
        memory=("modules", "statistics"),
        pet=("adaptformer",),
        incompatible_with={
            "all data": "joint training needs neither kept adapters nor alignment",
            "weights": "the head would be aligned to features of other weights",
            "statistics": "its head is aligned already, by statistics of its own",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        training={
            "loss": "local",
            "head": "cosine",
            "head_classes": "seen",
            "schedule": "cosine",
            "optimizer": {"name": "sgd", "momentum": 0.9, "lr": 0.01, "head_lr": 0.01, "weight_decay": 5e-4},
        },
        scores="probabilities",
        paper="Wang, ICCV 2025 (TUNA)",
    )
    state = ("_gaussians", "_ended")

    def __init__(
        self,
        size: int = 16,
        blocks: str = "all",
        scale: float = 20.0,
        margin: float = 0.0,
        orthogonality: float = 0.0,
        align_epochs: int = 30,
        align_lr: float = 0.005,
        samples: int | None = None,
        align_decay: float = 5e-4,
        period: int | None = None,
        means: Literal["plain", "nearness", "code"] = "plain",
        least_factor: float = 0.9,
        ridge: float = 1e-4,
        adapter_scale: float = 0.1,
        adapter_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_range("tuna", at_least=1, size=size, align_epochs=align_epochs, samples=samples, period=period)
        check_range("tuna", above=0, scale=scale, align_lr=align_lr, ridge=ridge)
        check_range("tuna", at_least=0, margin=margin, orthogonality=orthogonality, align_decay=align_decay)
        self._adapter = {"adapter_scale": adapter_scale, "adapter_dropout": adapter_dropout}
        self.size, self.blocks, self.scale, self.margin = size, blocks, scale, margin
        self.orthogonality, self.samples = orthogonality, samples
        self.means, self.least_factor, self.ridge = means, least_factor, ridge
        self._alignment = AlignmentSettings(align_lr, align_epochs, weight_decay=align_decay, period=period)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Attach the adapters, and fix the scale of the head.

        Raises:
            UserError: If the head is none of cosines, or does not grow by the classes of each task.
        """
        check_alignable("tuna", learner)
        if not isinstance(learner.head, GrowingHead) or not learner.head.cosine:
            raise UserError("tuna: training.head must be cosine: the loss is of scaled cosines")
        learner.head.fix_scale(self.scale)
        build = {"size": self.size, "blocks": self.blocks, **self._adapter, "generator": learner.generator("tuna")}
        self._universal, self._ended = len(scenario.tasks), 0
        self.adapters = TaskModules(learner, self, self._universal + 1, "adaptformer", **build)
        self._gaussians = ClassGaussians(learner.backbone.width, "full", self.ridge, "absolute")

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Let the head's older groups rest."""
        learner.head.freeze(range(len(learner.head.sizes) - 1))

    def classification(self, learner: Learner, step: Step) -> Tensor | None:
        """The cross-entropy with a margin; the usual one where there is none."""
        return cosface_loss(learner, step, self.scale, self.margin)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The overlaps with the kept adapters; none in the first task."""
        if not self.orthogonality or not self._ended:
            return None
        overlaps = [overlap(self.adapters.current, kept) for kept in self.adapters.kept[: self._ended]]
        return self.orthogonality * math.exp(-self._ended - 1) * torch.stack(overlaps).sum()

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Keep the adapter, elect the universal one, and align the head."""
        self._gaussians.add(learner.features_of(task.train), learner.labels_of(task.train))
        self.adapters.keep(self._ended)
        self._ended += 1
        kept = self.adapters.values(self._ended)
        self.adapters.fill(self._universal, {name: elected(values) for name, values in kept.items()})
        if task.index:
            settings = replace(self._alignment, samples=self.samples or 5 * learner.options.batch_size)
            of_classes = {"nearness": nearness, "code": reversed_nearness}.get(self.means)
            factors = of_classes(learner.head.sizes, self.least_factor) if of_classes else None
            align_head(learner, self._gaussians, settings, learner.generator("tuna alignment"), factors=factors)

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Mean probability of the least uncertain adapter and the universal one; the head until a task has ended."""
        seen = learner.seen
        if not self._ended or len(self._gaussians.labels) < seen:
            answer: Tensor = learner.head(learner.encode(batch))
            return answer[:, :seen].float().softmax(dim=1)
        asked = [*range(self._ended), *([self._universal] if self._ended > 1 else [])]
        features = [self.adapters.of_batch(number, batch) for number in asked]
        with full_precision(features[0]):
            answers = torch.stack([learner.head(under)[:, :seen].softmax(dim=1) for under in features])
        return (least_uncertain(answers[: self._ended]) + answers[-1]) / 2

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the kept adapters, of the universal one, and of the class statistics."""
        adapters = self._ended + (self._ended > 1)
        return {"modules": adapters * self.adapters.bytes, "statistics": self._gaussians.bytes}


def elected(values: Tensor) -> Tensor:
    """Of values ``[T, ...]``, entry by entry, the largest that has the sign of the mean."""
    sign = values.mean(dim=0).sign()
    return sign * values.abs().where(values.sign() == sign, 0.0).amax(dim=0)


def least_uncertain(answers: Tensor) -> Tensor:
    """Of probabilities ``[T, B, C]``, those ``[B, C]`` that have the least entropy, image by image."""
    entropies = -torch.special.xlogy(answers, answers).sum(dim=2)
    return answers[entropies.argmin(dim=0), torch.arange(answers.shape[1], device=answers.device)]


def overlap(current: PET, kept: PET) -> Tensor:
    """Mean over blocks of the absolute mean cosine of the rows of two adapters' up-projections."""
    means = [
        [F.normalize(value, dim=1).mean(dim=0) for name, value in one.named_parameters() if name.endswith("up.weight")]
        for one in (current, kept)
    ]
    return torch.stack([(mine @ theirs).abs() for mine, theirs in zip(*means, strict=True)]).mean()
