"""Block expansion: new blocks that compute nothing at first are trained, the old ones stay."""

from __future__ import annotations

import copy
from typing import Any

import torch
from timm.models.eva import EvaBlockPostNorm
from timm.models.vision_transformer import ResPostBlock
from torch import Tensor, nn

from clsuite.peft import block_list, transformer_blocks
from clsuite.plugin import Learner, Plugin, Scenario, Traits, UserError, check_range
from clsuite.plugin.helpers import tensor_bytes

NORM_LAST = (ResPostBlock, EvaBlockPostNorm)
"""Blocks whose norms stand behind attention and MLP, in front of the residual connection."""
NEARLY = 1e-4
"""Largest difference, relative to the largest feature, that the order of floating-point sums may make."""


class BlockExpansion(Plugin):
    """Inserts copies of blocks that add nothing at first, and trains those copies and the head alone.

    Bafghi et al., "Parameter efficient fine-tuning of self-supervised ViTs without catastrophic forgetting" (CVPR
    workshops 2024), section 3.2: after every (L/p)-th block a copy of it is inserted whose attention and MLP output
    projections (weights and biases) are zero. With the residual connections the network computes exactly what it did
    before the first step, which is checked. Where norms stand behind attention and MLP (post-norm), weights and biases
    of these norms are zero in place of the projections'. Parallel blocks have no such copy and are refused.

    Args:
        blocks: p, the number of inserted blocks; divides the number of blocks L (paper: 1 to 4 of 12).
    """

    traits = Traits(
        requires=("vit",),
        memory=("blocks",),
        paper="Bafghi, CVPR-W 2024 (block expansion)",
    )

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        check_range("block_expansion", at_least=1, blocks=blocks)
        self.blocks = blocks
        self._bytes = 0

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Insert the copies and freeze everything else.

        Raises:
            UserError: If the network's blocks cannot be copied so, or their number cannot be divided so.
        """
        model: Any = learner.backbone.model
        try:
            parent, name = block_list(model)
        except UserError as error:
            raise UserError(f"block_expansion: {error}") from error
        old: Any = getattr(parent, name)
        if len(old) % self.blocks:
            raise UserError(
                f"block_expansion: blocks is {self.blocks}, but must divide the backbone's {len(old)} blocks"
            )
        if getattr(parent, "rope_mixed", False):
            raise UserError("block_expansion: the backbone has an embedding of positions for each block by its number")
        learner.backbone.requires_grad_(False)
        images = self._images(learner, scenario)
        before = self._features(learner, images)
        new = self._expanded(old)
        setattr(parent, name, type(old)(new) if isinstance(old, nn.ModuleList) else type(old)(*new))
        self._check_identity(before, self._features(learner, images))
        self._bytes = tensor_bytes([value for block in new for value in block.parameters() if value.requires_grad])

    def _expanded(self, old: Any) -> list[nn.Module]:
        every = len(old) // self.blocks
        sequence: list[nn.Module] = []
        for position, block in enumerate(old, start=1):
            sequence.append(block)
            if position % every == 0:
                sequence.append(identity_copy(block))
        return sequence

    @staticmethod
    def _images(learner: Learner, scenario: Scenario) -> Tensor:
        """Two images of noise of the stream's size."""
        size, generator = scenario.table.images.shape[1:], torch.Generator().manual_seed(0)
        noise = torch.randint(0, 256, (2, *size), generator=generator, dtype=torch.uint8)
        images: Tensor = learner.backbone.normalize(noise.to(learner.device))
        return images

    @staticmethod
    @torch.no_grad()
    def _features(learner: Learner, images: Tensor) -> Tensor:
        training = learner.backbone.training
        features: Tensor = learner.backbone.eval()(images).float()
        learner.backbone.train(training)
        return features

    @staticmethod
    def _check_identity(before: Tensor, after: Tensor) -> None:
        """Check that the network computes what it did; one with broken weights is found out later."""
        moved, largest = float((after - before).abs().max()), float(before.abs().max())
        if moved > NEARLY * largest:
            raise UserError(
                f"block_expansion: with copies of its blocks that should add nothing the backbone computes something "
                f"else (features move by {moved:.2g} of {largest:.2g}): its blocks are of a kind that is not known"
            )

    def stored_bytes(self) -> dict[str, int]:
        """The inserted blocks."""
        return {"blocks": self._bytes}


def identity_copy(block: nn.Module) -> nn.Module:
    """A trainable copy of a transformer block that adds nothing, as the last layer of each branch is zero."""
    inserted = copy.deepcopy(block)
    view = transformer_blocks(inserted)[0]
    last = (view.norm1, view.norm2) if isinstance(block, NORM_LAST) else (view.attn.proj, view.mlp.fc2)
    with torch.no_grad():
        for layer in last:
            for parameter in (layer.weight, getattr(layer, "bias", None)):
                if parameter is not None:
                    parameter.zero_()
    return inserted.requires_grad_(True)
