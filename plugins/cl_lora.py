"""CL-LoRA: one low-rank module that all tasks share in the first blocks, and one for each task in the others."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.peft import SharedLoRA, WeightedLoRA, first_blocks_once, left_after, only, transformer_blocks
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Step, Task, Traits, UserError, check_range
from clsuite.plugin.helpers import full_precision

BELOW_ALL = -10.0


class CLLoRA(Plugin):
    """A shared LoRA that distills what it was, LoRAs of single tasks, and prototypes under each of these.

    He et al., "CL-LoRA: continual low-rank adaptation for rehearsal-free class-incremental learning" (CVPR 2025), and
    the authors' code. Queries and values get low-rank matrices whose A has orthonormal rows and whose B begins with 0.

    * The first half of the blocks has one LoRA for all tasks, of which B alone is trained. The other half has one for
      each task, A and B trained, whose outputs are multiplied with learned block weights.
    * From the second task on, the features behind the shared blocks are classified by the current head, with the shared
      LoRA and with what it was at the task's start, and the cross-entropy of the two softmaxes at a temperature is a
      loss. The gradient of a row of B is multiplied with the row's share of the norm in the old B.
    * The cosine of a task's block weights to each earlier task's is a loss.
    * Prediction: an image passes through the second half once under the LoRA of each task, and its cosines to the mean
      features of that task's classes are the scores.

    As in the code the distillation is a step of its own in front of each step, of the same optimizer and not clipped;
    keys have block weights, which multiply nothing; each task has a new cosine head; older prototypes stay. The code's
    cross-entropy passes before that step and backwards after it, which PyTorch since 2.1 refuses; here all comes after.

    The traits set what the authors train with: the current task's classes alone, SGD and a cosine schedule. Learning
    rate, epochs and batch size are the benchmark's (authors: 0.03, 30 epochs, 64 images on CIFAR-100; 0.05, 20 epochs,
    32 images and a decay of 5e-4 on ImageNet-R). Every class must come in one task only.

    Args:
        rank: Rank of all LoRAs (authors: 8 on CIFAR-100, otherwise 10).
        shared: Number of blocks with the shared LoRA; null takes half of them (authors: 6 of 12).
        distillation: Weight of the distillation (code: 5); 0 leaves it out.
        temperature: Of the distillation (code: 2).
        orthogonality: Weight of the block weights' cosines (code: 1e-4).
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules", "prototypes"),
        pet=("lora",),
        incompatible_with={
            "weights": "the prototypes would not belong to the weights that are evaluated",
            "transform_update": "the steps of the distillation would not pass by there",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed", "cross_domain", "avalanche"),
        training={
            "loss": "local",
            "head": "cosine",
            "head_scale": 1.0,
            "head_init": "uniform",
            "schedule": "cosine",
            "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-4},
        },
        scores="cosine",
        paper="He, CVPR 2025 (CL-LoRA)",
        effects=("adds modules", "trains by itself"),
    )
    state = ("_prototypes", "_owners")

    def __init__(
        self,
        rank: int = 8,
        shared: int | None = None,
        distillation: float = 5.0,
        temperature: float = 2.0,
        orthogonality: float = 1e-4,
    ) -> None:
        super().__init__()
        check_range("cl_lora", at_least=1, rank=rank, shared=1 if shared is None else shared)
        check_range("cl_lora", at_least=0, distillation=distillation, orthogonality=orthogonality)
        check_range("cl_lora", above=0, temperature=temperature)
        self.rank, self.shared, self.distillation = rank, shared, distillation
        self.temperature, self.orthogonality = temperature, orthogonality

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the shared LoRA, and the one that it was at a task's start.

        Raises:
            UserError: If a class comes in several tasks, all blocks would be shared, or the precision is 16.
        """
        classes = [label for task in scenario.tasks for label in task.classes]
        if len({*classes}) < len(classes):
            raise UserError("cl_lora: a class of the stream comes in several tasks, and each class belongs to one LoRA")
        if learner.options.precision == "16":
            raise UserError("cl_lora: precision 16 scales gradients, and the distillation's are not: use bf16 or 32")
        model, blocks = learner.backbone.requires_grad_(False).model, len(transformer_blocks(learner.backbone.model))
        self._first = self.shared or blocks // 2
        if not 0 < self._first < blocks:
            raise UserError(
                f"cl_lora: shared is {self._first}, but of {blocks} blocks one or more must be left to tasks"
            )
        build = range(self._first), self.rank
        self.common, self.before = (SharedLoRA(model, *build, learner.generator("cl_lora shared")) for _ in range(2))
        for name, module in (("shared", self.common), ("shared before", self.before)):
            learner.register_plugin_module(self, name, module)
            module.attach(model)
        self.before.rest()
        self.modules: list[WeightedLoRA] = []
        self._prototypes = torch.zeros(len(scenario.classes), learner.backbone.width)
        self._owners = torch.full((len(scenario.classes),), -1)

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        """Create the LoRAs of the first tasks again."""
        for index in range(tasks):
            self._add(learner, index)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Create the task's LoRA and a new head, and keep the shared LoRA as it is."""
        self._add(learner, task.index)
        self.before.copy_from(self.common)
        if task.index:
            learner.head.reset(learner.generator("cl_lora head"))
            learner.optimizer_policy.forget("head.")

    def _add(self, learner: Learner, index: int) -> None:
        for module in self.modules:
            module.rest()
        model, generator = learner.backbone.model, learner.generator("cl_lora", index)
        module = WeightedLoRA(model, range(self._first, len(transformer_blocks(model))), self.rank, generator)
        learner.register_plugin_module(self, f"task{index}", module)
        module.attach(model)
        self.modules.append(module)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Take a step of the distillation, from the second task on."""
        if len(self.modules) < 2 or not self.distillation:
            return
        assert isinstance(pl_module, Learner)
        (optimizer,) = trainer.optimizers
        optimizer.zero_grad()
        loss = self.distillation * self._distilled(pl_module, batch)
        loss.backward()
        self.common.weigh_gradients(self.before)
        optimizer.step()
        optimizer.zero_grad()
        pl_module.count_gradients(len(batch))

    def _distilled(self, learner: Learner, batch: Batch) -> Tensor:
        """Cross-entropy of the softmaxes behind the shared blocks, of the task's classes, before and now."""
        assert learner.task is not None
        logits, own = [], slice(min(learner.task.classes), max(learner.task.classes) + 1)
        with learner.autocast(), left_after(learner.backbone.model, self._first):
            for number in range(2):
                with only([self.before, self.common], number), torch.set_grad_enabled(number == 1):
                    features = learner.backbone(batch.images)
                logits.append(learner.head(features)[:, own].float() / self.temperature)
        return F.cross_entropy(logits[1], logits[0].softmax(dim=1))

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The weighted mean of the cosines of the block weights to those of earlier tasks."""
        *earlier, own = [module.weights.flatten() for module in self.modules]
        if not earlier or not self.orthogonality:
            return None
        cosines = [F.cosine_similarity(one, own, dim=0).abs() for one in earlier]
        return self.orthogonality * torch.stack(cosines).mean()

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Compute the prototypes of the task's classes."""
        features, labels = learner.features_of(task.train).cpu(), learner.labels_of(task.train).cpu()
        for label in task.classes:
            self._prototypes[label] = features[labels == label].mean(dim=0)
        self._owners[list(task.classes)] = task.index

    @torch.no_grad()
    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Cosines ``[B, seen classes]``, each under its class's LoRA; the head's logits before the first task's end."""
        learned, seen = int(self._owners.max()) + 1, learner.seen
        if not learned:
            return learner.head(learner.encode(batch))[:, :seen].float()  # type: ignore[no-any-return]
        assert batch.images is not None
        logits = torch.full((len(batch), seen), BELOW_ALL, device=batch.images.device)
        with learner.autocast(), first_blocks_once(learner.backbone.model, self._first):
            for index in range(learned):
                with only(self.modules, index):
                    features = F.normalize(learner.backbone(batch.images).float(), dim=1)
                mine = (self._owners[:seen] == index).nonzero().flatten()
                with full_precision(features):
                    cosines = features @ F.normalize(self._prototypes[mine], dim=1).to(features.device).T
                logits[:, mine.to(features.device)] = cosines
        return logits

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the LoRAs but for the copy that is made at a task's start, and of the prototypes."""
        kept = sum(module.numel for module in (self.common, *self.modules))
        return {"modules": 4 * kept, "prototypes": 4 * int((self._owners >= 0).sum()) * self._prototypes.shape[1]}
