"""Selective LoRA: low-rank matrices of which only those stay switched on that are worth a penalty."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from clsuite.peft import GatedLoRA, attach_module, choose_blocks, transformer_blocks
from clsuite.plugin import Learner, Plugin, Scenario, Step, Task, Traits, UserError, check_range


class SelectiveLoRA(Plugin):
    """Trains a LoRA of which each matrix has a learned switch, and penalizes those that are on.

    Bafghi et al., "Fine tuning without catastrophic forgetting via selective low rank adaptation" (2025), of which the
    abstract is known here: an indicator selects LoRA blocks, and 5 % of them are enough for CLIP and DINO. The rule is
    that of Wallingford et al., "Task adaptive parameter sharing for multi-task learning" (TAPS, CVPR 2022), in its
    authors' code. The paper fine-tunes once and measures what is kept elsewhere; the stream of tasks is ours.

    * Each projection gets ``W x + 1[s >= threshold] B A x`` with a number s of its own. Backward the step function is
      the identity (straight-through), so that a closed matrix can open again; its A and B have no gradient meanwhile.
    * The loss is the cross-entropy plus ``penalty`` times the mean of all ``|s|``, without it in the first steps of a
      task: B is zero at first, s has no gradient of the cross-entropy then, and the penalty alone would close all.
    * Weight decay is not applied to s, where it would act as a second penalty (TAPS applies it).

    With ``penalty: 0`` and a threshold that no s falls below it is `pet` to the bit, unless gradients are clipped by
    their norm, in which those of s are too. ``clsuite plot RUNS --kind loss --curve open`` shows the share that is on.

    Args:
        penalty: Weight of the mean of the switches (TAPS: 0.1 to 1).
        rank: Rank of the matrices.
        blocks: The transformer blocks that get them: ``all``, ``0-4``, ``0,2,5``.
        targets: Projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``; each has a switch.
        alpha: Numerator of the scaling factor; null takes the rank.
        threshold: From which on a switch is on (TAPS: 0.1).
        first_switch: First value of the switches (TAPS: 0.15).
        switch_lr: Their learning rate; null takes that of the matrices, as TAPS.
        free_epochs: First epochs of each task without the penalty; half of its steps, if these are fewer.
        after_task: ``keep`` goes on with the same matrices and switches. ``merge`` adds those that are on to the
            weights, and begins anew: what a task has selected is fixed.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules",),
        pet=("lora",),
        training={"loss": "local"},
        paper="Bafghi, 2025 (Selective LoRA)",
    )

    def __init__(
        self,
        penalty: float = 0.1,
        rank: int = 8,
        blocks: str = "all",
        targets: str = "q+v",
        alpha: float | None = None,
        threshold: float = 0.1,
        first_switch: float = 0.15,
        switch_lr: float | None = None,
        free_epochs: int = 1,
        after_task: Literal["keep", "merge"] = "keep",
    ) -> None:
        super().__init__()
        check_range("selective_lora", at_least=0, penalty=penalty, free_epochs=free_epochs)
        check_range("selective_lora", at_least=1, rank=rank)
        check_range("selective_lora", above=0, switch_lr=switch_lr)
        if first_switch < threshold:
            raise UserError(f"selective_lora: first_switch is {first_switch}, below threshold {threshold}: all are off")
        self.penalty, self.switch_lr, self.free_epochs = penalty, switch_lr, free_epochs
        self.rank, self.blocks, self.after_task = rank, blocks, after_task
        self._build: dict[str, Any] = {"targets": targets, "alpha": alpha, "gate": first_switch, "threshold": threshold}

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the matrices, drawn as `pet` draws its LoRA."""
        model = learner.backbone.model
        numbers = choose_blocks(transformer_blocks(model), self.blocks)
        self.module = GatedLoRA(model, numbers, self.rank, learner.generator("pet"), **self._build)
        attach_module(learner, self, "module", self.module)

    def parameter_groups(self, learner: Learner) -> list[dict[str, Any]]:
        """The benchmark's rates, and the switches without weight decay."""
        options, switches = learner.options.optimizer, self.module.gates
        known = {id(value) for value in switches}
        named = [(name, value) for name, value in learner.named_parameters() if value.requires_grad]
        head = [value for name, value in named if name.startswith("head.")]
        body = [value for name, value in named if not name.startswith("head.") and id(value) not in known]
        groups: list[dict[str, Any]] = [
            {"params": body, "lr": options.lr},
            {"params": switches, "lr": self.switch_lr or options.lr, "weight_decay": 0.0},
            {"params": head, "lr": options.head_lr or options.lr},
        ]
        return [group for group in groups if group["params"]]

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """The penalty; none in the first epochs of a task, which are at most half of its steps."""
        learner.log("open", self.module.share_open())
        in_first_half = 2 * learner.global_step < learner.trainer.estimated_stepping_batches
        if not self.penalty or (in_first_half and learner.current_epoch < self.free_epochs):
            return None
        return self.penalty * torch.stack([gate.abs() for gate in self.module.gates]).mean()

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """With ``after_task: merge``, add what is on to the weights and begin anew."""
        if self.after_task == "merge":
            self.module.merge(learner.backbone.model)
            self.module.reset(learner.generator("pet"))
            learner.optimizer_policy.forget("plugin_modules.")  # also where it is carried on: the matrices are new
