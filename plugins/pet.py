"""Sequential parameter-efficient tuning: one LoRA, adapter, prefix or prompt for the whole stream."""

from __future__ import annotations

from typing import Any, Literal

import torch

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.peft import LoRA, PetKind, build_pet
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class Pet(Plugin):
    """Freezes the backbone and trains a small module (LoRA, adapter, prefix or prompt) and the head on every task.

    LoRA: Hu et al. (ICLR 2022); as the baseline of Bafghi et al. (CVPR-W 2024): query and value, alpha equal to the
    rank. Adapter: He et al. (ICLR 2022). Prefix: Li & Liang (ACL 2021). Prompt: Jia et al. (ECCV 2022).

    Args:
        kind: ``lora``, ``adapter``, ``prefix`` or ``prompt``.
        size: Rank, bottleneck, or number of prefix pairs or tokens.
        blocks: Where: ``all``, ``0-4``, ``0,2,5``.
        targets: Of LoRA: projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``.
        alpha: Of LoRA: numerator of the factor; null takes the rank.
        after_task: ``keep`` trains the same module on; ``merge`` (LoRA) adds it to the weights and starts it anew, so
            that the sum of all tasks can have any rank.
    """

    traits = Traits(
        needs=("vit",),
        stores=("modules",),
        forbids={
            "all data": "joint training would start from the module of the last task",
            "blocks": "both freeze the backbone and add to it",
            "masks": "the backbone is frozen: there is nothing to choose from",
            "modules": "both freeze the backbone and add to it",
        },
        paper="Hu, ICLR 2022 (LoRA)",
    )

    def __init__(
        self,
        kind: PetKind = "lora",
        size: int = 8,
        blocks: str = "all",
        targets: str = "q+v",
        alpha: float | None = None,
        after_task: Literal["keep", "merge"] = "keep",
    ) -> None:
        super().__init__()
        if after_task == "merge" and kind != "lora":
            raise UserError(f"pet: a {kind} cannot be merged into the weights; only lora can")
        self.kind, self.size, self.blocks, self.targets, self.alpha = kind, size, blocks, targets, alpha
        self.after_task = after_task

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the module."""
        learner.backbone.requires_grad_(False)
        self.module = build_pet(
            self.kind,
            learner.backbone.model,
            size=self.size,
            blocks=self.blocks,
            generator=self._generator(learner),
            targets=self.targets,
            alpha=self.alpha,
        )
        learner.add_module_of(self, "module", self.module)
        self.module.attach(learner.backbone.model)

    @staticmethod
    def _generator(learner: Learner) -> torch.Generator:
        return torch.Generator().manual_seed(learner.generator("pet").initial_seed())

    def before_next_task(self, learner: Learner, task: Task) -> None:
        """Merge and start anew, where asked to."""
        if self.after_task == "merge":
            assert isinstance(self.module, LoRA)
            self.module.merge(learner.backbone.model)
            self.module.reset(self._generator(learner))

    def stored_bytes(self) -> dict[str, int]:
        """The module."""
        return {"modules": 4 * self.module.numel}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the module is saved with the learner."""
        return {}
