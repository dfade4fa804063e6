"""TAIL: a module and a part of the head for each task, chosen by the task that is known at test time."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from clsuite.peft import PetKind, TaskModules, build_pet
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, UserError, check_range, fill_defaults
from clsuite.plugin.helpers import check_alignable, full_precision


class TAIL(Plugin):
    """Freezes the backbone; each task trains a module of its own, under which its classes are answered forever.

    Liu et al., "TAIL: task-specific adapters for imitation learning with large pretrained models" (ICLR 2024), whose
    abstract is known here. There a policy imitates demonstrations, a task is one of a robot's, and it is known at test
    time; adapters, prefixes and LoRA are compared, and LoRA is best with 1 % of the parameters.

    The logits of a task's classes are those of its own part of the head under its own module: one pass for each task.
    Task-aware figures compare these alone, and are TAIL's: later tasks change none of their bits, so that forgetting is
    zero by construction. Class-incremental figures compare logits of modules and parts that have never been trained
    against each other, and are no claim of the paper.

    The ranks of the paper are 8 in the encoders and 16 in the decoder; a ViT is an encoder. A public re-implementation
    begins a task with the last one's module and noise: ``start: last, noise: 0.001``. With ``start: last`` each task
    is learned as by `pet`, to the bit.

    Args:
        pet: ``lora``, ``adapter``, ``prefix``, ``prompt``, ``ia3``, ``adaptformer`` or ``ssf``.
        size: Rank, bottleneck, or number of prefix pairs or tokens; by default as `pet` has it, and rank 8.
        blocks: The transformer blocks that get a module: ``all``, ``0-4``, ``0,2,5``.
        targets: For LoRA only: projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``; null
            takes ``q+v``.
        alpha: For LoRA only: numerator of the scaling factor; null takes the rank.
        start: What a task's module begins with: ``fresh`` draws, or the ``last`` task's values.
        noise: For ``start: last``: standard deviation of what is added to each value.
        adapter_scale: For AdaptFormer only: what its output is multiplied with (authors: 0.1).
        adapter_dropout: For AdaptFormer only: dropout probability of its hidden units in training (authors: 0.1).
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit", "gradient"),
        memory=("modules",),
        incompatible_with={
            "all data": "joint training has one task: there is nothing to choose",
            "weights": "kept modules would not belong to the weights that are evaluated",
        },
        scenarios=("class_incremental", "task_incremental", "long_tailed", "cross_domain"),
        training={"loss": "local", "head_classes": "seen"},
        defaults_by={
            "pet": {
                "lora": {"size": 8, "blocks": "all", "targets": "q+v", "alpha": None},
                "adapter": {"size": 5, "blocks": "all"},
                "prefix": {"size": 10, "blocks": "all"},
                "prompt": {"size": 10, "blocks": "all"},
                "ia3": {"size": 1, "blocks": "all"},
                "adaptformer": {"size": 64, "blocks": "all", "adapter_scale": 0.1, "adapter_dropout": 0.1},
                "ssf": {"size": 1, "blocks": "all"},
            }
        },
        paper="Liu, ICLR 2024 (TAIL)",
        effects=("adds modules",),
    )
    state = ("_ended",)

    def __init__(
        self,
        pet: PetKind = "lora",
        size: int | None = None,
        blocks: str | None = None,
        targets: str | None = None,
        alpha: float | None = None,
        start: Literal["fresh", "last"] = "fresh",
        noise: float = 0.0,
        adapter_scale: float | None = None,
        adapter_dropout: float | None = None,
    ) -> None:
        super().__init__()
        check_range("tail", at_least=0, noise=noise)
        if noise and start == "fresh":
            raise UserError("tail: noise is added to the last task's module: write start: last, or leave it out")
        self._build = fill_defaults(
            "tail", self.traits, pet=pet, size=size, blocks=blocks, targets=targets, alpha=alpha,
            adapter_scale=adapter_scale, adapter_dropout=adapter_dropout,
        )  # fmt: skip
        self._kind: PetKind = self._build.pop("pet")
        self.start, self.noise = start, noise
        self._ended = 0

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Attach the module that is trained, drawn as `pet` draws it, and those that will be kept.

        Raises:
            UserError: If the head does not grow by the classes of each task, or a class comes in several tasks.
        """
        check_alignable("tail", learner)
        classes = [label for task in scenario.tasks for label in task.classes]
        if len({*classes}) < len(classes):
            raise UserError("tail: a class of the stream comes in several tasks, and each class belongs to one module")
        build = {**self._build, "generator": learner.generator("pet")}
        self.modules, self._ended = TaskModules(learner, self, len(scenario.tasks), self._kind, **build), 0

    @torch.no_grad()
    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Let the head's older parts rest, and begin the task's module."""
        learner.head.freeze(range(len(learner.head.sizes) - 1))
        current, draws = self.modules.current, learner.generator("tail")
        if task.index and self.start == "fresh":
            current.copy_from(build_pet(self._kind, learner.backbone.model, generator=draws, **self._build))
            learner.optimizer_policy.forget("plugin_modules.")  # also where it is carried on: the module is new
        for value in current.parameters() if task.index and self.noise else ():
            value.add_(self.noise * torch.randn(value.shape, generator=draws).to(value.device))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Keep the module."""
        self.modules.keep(self._ended)
        self._ended += 1

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Logits ``[B, seen classes]``, of each task's classes under its module; of a task that learns, the current."""
        bounds = [learner.scenario.seen_classes(number) for number in range(self._ended + 1)]
        logits = torch.zeros(len(batch), learner.seen, device=batch.labels.device)
        if bounds[-1] < learner.seen:
            logits = learner.head(learner.encode(batch))[:, : learner.seen].float()
        for number, (first, end) in enumerate(pairwise(bounds)):
            features = self.modules.of_batch(number, batch)
            with full_precision(features):
                logits[:, first:end] = learner.head(features)[:, first:end]
        return logits

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the kept modules."""
        return {"modules": self._ended * self.modules.bytes}
