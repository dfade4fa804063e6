"""HiDe-Prompt and HiDe-LoRA: a module of each task, the task inferred from plain features, and an aligned head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from clsuite.peft import PET, FrozenQuery, attach_pet, only
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Step, Task, Traits, check_range, fill_defaults
from clsuite.plugin.helpers import (
    AlignmentSettings,
    ClassGaussians,
    TaskIdentity,
    align_head,
    check_alignable,
    self_contrast,
)

FORMS: dict[str, dict[str, Any]] = {  # how each kind of module is built
    "prefix": {"joint": True, "prompt_init": "unit"},
    "lora": {"targets": "k+v", "alpha": 1.0},
}


class HiDe(Plugin):
    """Trains a module for each task, infers a test image's task from plain features, and aligns the head.

    Wang et al., "Hierarchical decomposition of prompt-based continual learning: rethinking obscured sub-optimality"
    (NeurIPS 2023), HiDe-Prompt; Wang et al., "HiDe-PET" (2024), other modules; `hide_pet` has its shared one.

    * Within-task prediction: each task trains a module of its own, which starts from the previous task's, by the
      cross-entropy over its classes plus ``contrast`` times that of the products of features and stored centroids among
      each other, by the temperature, against the diagonal. Then it becomes ``(1 - momentum)`` of itself and
      ``momentum`` of the mean of earlier modules, which never change again. The backbone is frozen.
    * Task identity: two layers with twice the width between them and a linear one are trained on features of the
      backbone without any module, first on the task's classes alone, then on features drawn for all classes. The class
      that they predict for a test image says whose module it is given.
    * Task-adaptive prediction: the head is aligned on features under each class's own module, and goes on so.

    Features are drawn around k-means centroids of each class. The authors' code then trains on as many batches as there
    were classes before the task; the paper, and the default here, on all. ReLU behind the layers that tell the task is
    ours; ``identity: residual`` is their code's. From the second task on, the authors' head has a tenth of the prompts'
    rate (``optimizer.head_lr``).

    Args:
        pet: ``prefix`` (HiDe-Prompt: keys and values, one softmax with the tokens), ``lora`` (HiDe-LoRA: on key and
            value, divided by the rank) or ``adapter`` (HiDe-Adapter).
        size: Length, rank or bottleneck; 5 by default (authors; prefixes of 20 on ImageNet-R and CUB).
        blocks: The transformer blocks that get a module: the first five by default (authors, for prefixes), or ``all``.
        momentum: Share of the mean of earlier modules; by default 0.01 for prefixes, else 0.1 (authors).
        contrast: Weight of the contrast (authors: 0.1; 0.01 on CUB, 0.001 on ImageNet-R).
        temperature: Of the contrast (authors: 0.8).
        centroids: Number of centroids of a class (authors: 10).
        samples: Features drawn for each centroid in an epoch, and in a batch, for the head (authors: 5 batches of 24).
        epochs: Epochs of each alignment (authors: 30).
        lr: Learning rate of each alignment at the start (authors: 0.005).
        batches: Which batches of drawn features are used: ``all``, or as many as there are ``old`` classes (code).
        identity: The two layers that tell the task: ``plain`` with ReLU, or ``residual`` (code: with GELU between them,
            added to the feature and normalized).
        task_epochs: Epochs of the task identity on real features (authors: 20).
        task_lr: Their learning rate, with Adam (authors: 5e-4).
        task_samples: As ``samples``, for the task identity (authors: a batch of 24).
        align_decay: Weight decay of each alignment (authors: 5e-4).
        ridge: Share of the mean variance of a centroid that is added to its variances for the draws.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules", "statistics"),
        incompatible_with={
            "all data": "joint training has one task",
            "exemplars": "an exemplar would be trained through the module of another task",
            "importances": "modules of earlier tasks rest: there is nothing to hold",
            "statistics": "the head is aligned already, on features of each class's own module",
            "weights": "the head and the statistics would belong to others",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed"),
        training={"loss": "local", "head": "linear", "head_classes": "seen", "gradient_clip": 1.0},
        defaults_by={
            "pet": {
                "prefix": {"size": 5, "blocks": "0-4", "momentum": 0.01},
                "lora": {"size": 5, "blocks": "0-4", "momentum": 0.1},
                "adapter": {"size": 5, "blocks": "0-4", "momentum": 0.1},
            }
        },
        paper="Wang, NeurIPS 2023 (HiDe-Prompt)",
        effects=("adds modules", "trains by itself"),
    )
    state = ("_plain", "_prompted")

    def __init__(
        self,
        pet: Literal["prefix", "lora", "adapter"] = "prefix",
        size: int | None = None,
        blocks: str | None = None,
        momentum: float | None = None,
        contrast: float = 0.1,
        temperature: float = 0.8,
        centroids: int = 10,
        samples: int = 120,
        epochs: int = 30,
        lr: float = 5e-3,
        batches: Literal["all", "old"] = "all",
        identity: Literal["plain", "residual"] = "plain",
        task_samples: int = 24,
        task_epochs: int = 20,
        task_lr: float = 5e-4,
        align_decay: float = 5e-4,
        ridge: float = 1e-4,
    ) -> None:
        super().__init__()
        given = fill_defaults("hide", self.traits, pet=pet, size=size, blocks=blocks, momentum=momentum)
        self.momentum = given["momentum"]
        self._build = {"kind": pet, "size": given["size"], "blocks": given["blocks"], **FORMS.get(pet, {})}
        check_range("hide", at_least=0, at_most=1, momentum=self.momentum)
        check_range("hide", at_least=0, contrast=contrast, align_decay=align_decay)
        check_range("hide", above=0, temperature=temperature, lr=lr, task_lr=task_lr, ridge=ridge)
        check_range("hide", at_least=1, samples=samples, epochs=epochs, centroids=centroids)
        check_range("hide", at_least=1, task_samples=task_samples, task_epochs=task_epochs)
        self.contrast, self.temperature, self.centroids, self.ridge = contrast, temperature, centroids, ridge
        self.task_samples, self.task_epochs, self.task_lr = task_samples, task_epochs, task_lr
        self._settings = AlignmentSettings(lr, epochs, samples, weight_decay=align_decay)
        self.batches = batches
        self.form: Literal["plain", "residual", "linear"] = identity

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and add the layers that tell the task."""
        check_alignable("hide", learner)
        learner.backbone.requires_grad_(False)
        self.modules: list[PET] = []
        self._query = FrozenQuery(learner, self.modules)
        width, generator = learner.backbone.width, learner.generator("hide identity")
        kept: Any = ("centroids", self.ridge, "relative", self.centroids)
        self._plain, self._prompted = ClassGaussians(width, *kept), ClassGaussians(width, *kept)
        self.identity = TaskIdentity(width, len(scenario.classes), generator, self.form)
        learner.register_plugin_module(self, "identity", self.identity, role="features")

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create the modules of the first tasks again."""
        for index in range(tasks):
            self._add(learner, index)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Create the task's module, a copy of the last one, and let the others rest."""
        self._add(learner, task.index)
        self._older = self._prompted.means.to(learner.device)

    def _add(self, learner: Learner, index: int) -> None:
        generator = learner.generator("hide", index)
        for earlier in self.modules:
            earlier.rest()
        self.modules.append(attach_pet(learner, self, f"task{index}", generator=generator, **self._build))
        if index:
            self.modules[-1].copy_from(self.modules[-2])

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The contrast of the batch's features and the centroids of older classes."""
        if not self.contrast:
            return None
        return self.contrast * self_contrast(torch.cat([self._older, step.features.float()]), self.temperature)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Average the module, learn to tell the task, and align the head."""
        if task.index > 0:
            self.modules[-1].move_towards(self.modules[:-1], self.momentum)
        plain, labels = self._query.of_rows(task.train), learner.labels_of(task.train)
        generator = learner.generator("hide alignment")
        self._plain.add(plain, labels, generator)
        self._prompted.add(learner.features_of(task.train), labels, generator)
        size, epochs, lr = learner.options.batch_size, self.task_epochs, self.task_lr
        self.identity.learn(plain, labels, task.index, epochs=epochs, lr=lr, batch_size=size, generator=generator)
        learner.count_gradients(epochs * len(labels))
        if task.index > 0:
            settings = replace(
                self._settings, batches=None if self.batches == "all" else learner.seen - len(task.classes)
            )
            self.identity.align(learner, self._plain, replace(settings, samples=self.task_samples), generator)
            align_head(learner, self._prompted, settings, generator)

    @torch.no_grad()
    def predict(self, learner: Learner, batch: Batch) -> Tensor | None:
        """The head's logits ``[B, seen classes]``, of each image with the module of the task that is inferred."""
        if (self.identity.owners < 0).all():
            return None
        assert batch.images is not None
        tasks = self.identity.tasks_of(self._query.of_batch(batch))
        features = torch.zeros(len(batch), learner.backbone.width, device=batch.images.device)
        for task in tasks.unique().tolist():
            with learner.autocast(), only(self.modules, task):
                features[tasks == task] = learner.backbone(batch.images[tasks == task]).float()
        answer: Tensor = learner.head(features)
        return answer

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the modules and the layers that tell the task, and of the centroids of both kinds of features."""
        return super().stored_bytes() | {"statistics": self._plain.bytes + self._prompted.bytes}
