"""Block expansion: new blocks that compute nothing at first are trained, the old ones stay."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario


class BlockExpansion(Plugin):
    """Inserts copies of blocks whose output projections are zero, and trains those copies and the head alone.

    Bafghi et al., "Parameter efficient fine-tuning of self-supervised ViTs without catastrophic forgetting" (CVPR
    workshops 2024), section 3.2: after every (L/p)-th block a copy of it is inserted whose attention and MLP output
    projections (weights and biases) are zero. With the residual connections the network computes exactly what it did
    before the first step.

    Args:
        blocks: p, the number of inserted blocks; divides the number of blocks L (paper: 1 to 4 of 12).
    """

    traits = Traits(needs=("vit",), stores=("blocks",), paper="Bafghi, CVPR-W 2024 (block expansion)")

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        if blocks < 1:
            raise UserError(f"block_expansion: blocks is {blocks}, but must be at least 1")
        self.blocks = blocks
        self._bytes = 0

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Insert the copies and freeze everything else.

        Raises:
            UserError: If the network has no blocks, or their number cannot be divided so.
        """
        model: Any = learner.backbone.model
        old = getattr(model, "blocks", None)
        if not isinstance(old, nn.Sequential):
            raise UserError("block_expansion needs a ViT with a sequence of blocks")
        if len(old) % self.blocks:
            raise UserError(
                f"block_expansion: blocks is {self.blocks}, but must divide the backbone's {len(old)} blocks"
            )
        learner.backbone.requires_grad_(False)
        every = len(old) // self.blocks
        sequence: list[nn.Module] = []
        for position, block in enumerate(old, start=1):
            sequence.append(block)
            if position % every == 0:
                sequence.append(identity_copy(block))
        model.blocks = nn.Sequential(*sequence)
        added = [value for value in model.blocks.parameters() if value.requires_grad]
        self._bytes = sum(value.numel() * value.element_size() for value in added)

    def stored_bytes(self) -> dict[str, int]:
        """The inserted blocks."""
        return {"blocks": self._bytes}


def identity_copy(block: nn.Module) -> nn.Module:
    """A trainable copy of a transformer block that adds nothing to its input: both output projections are zero."""
    inserted: Any = copy.deepcopy(block)
    with torch.no_grad():
        for projection in (inserted.attn.proj, inserted.mlp.fc2):
            for parameter in projection.parameters():
                parameter.zero_()
    return inserted.requires_grad_(True)
