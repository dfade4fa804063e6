"""MoE-LoRA: one LoRA for the stream, cut into experts that a router mixes token by token."""

from __future__ import annotations

from typing import Any

from clsuite.peft import ExpertLoRA, attach_module, choose_blocks, transformer_blocks
from clsuite.plugin import Learner, Plugin, Scenario, Traits, UserError, check_range


class MoELoRA(Plugin):
    """Freezes the backbone and trains a LoRA of experts, their routers and the head on every task.

    Chen et al., "CoIN: a benchmark of continual instruction tuning for multimodal large language models" (NeurIPS
    2024), where all experts and routers are trained on one task after another. "When large multimodal models confront
    evolving knowledge: challenges and pathways" (EVOKE, 2025) finds it, beside replay, effective against forgetting.
    Both train language models on instructions; here a ViT learns classes.

    * The rank of each LoRA is divided among the experts, so that it has the parameters of one LoRA of that rank, and
      those of the router besides.
    * A router without bias maps each token to a number for each expert; their softmax mixes all experts. No expert is
      left out, and no loss balances them.
    * What is added depends on the token: it cannot be merged into the weights.

    With one expert it is `pet` to the bit. A begins with LoRA's values; ports of the code draw it with a deviation of
    0.01, which is LoRA's for inputs of width 4,096. The code was read in such ports only.

    Args:
        rank: Rank of the experts of a projection together.
        experts: Their number, a divisor of the rank (ports: 4).
        blocks: The transformer blocks that get them: ``all``, ``0-4``, ``0,2,5``.
        targets: Projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+`` (CoIN: all); each
            has a router of its own.
        alpha: Numerator of the scaling factor; null takes the rank.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules",),
        pet=("lora",),
        training={"loss": "local"},
        paper="Chen, NeurIPS 2024 (MoE-LoRA)",
    )

    def __init__(
        self, rank: int = 8, experts: int = 4, blocks: str = "all", targets: str = "q+v", alpha: float | None = None
    ) -> None:
        super().__init__()
        check_range("moe_lora", at_least=1, rank=rank, experts=experts)
        if rank % experts:
            raise UserError(f"moe_lora: rank {rank} cannot be divided among {experts} experts")
        self.rank, self.blocks = rank, blocks
        self._build: dict[str, Any] = {"experts": experts, "targets": targets, "alpha": alpha}

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the experts, whose LoRA is drawn as `pet` draws it."""
        model = learner.backbone.model
        numbers = choose_blocks(transformer_blocks(model), self.blocks)
        self.module = ExpertLoRA(model, numbers, self.rank, learner.generator("pet"), **self._build)
        attach_module(learner, self, "module", self.module)
