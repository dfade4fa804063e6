"""Block expansion: new blocks that start as identities are trained, and the old ones are frozen."""

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
"""Post-norm blocks: their norms come after attention and MLP, before the residual connection."""
NEARLY = 1e-4
"""Largest difference, relative to the largest feature, that rounding may cause."""


class BlockExpansion(Plugin):
    """Inserts copies of blocks that add nothing at first, and trains those copies and the head alone.

    Bafghi et al., "Parameter efficient fine-tuning of self-supervised ViTs without catastrophic forgetting" (CVPR
    workshops 2024), section 3.2. After every (L/p)-th block a copy of that block is inserted. The output projections of
    its attention and its MLP (weights and biases) are zero, so that, with the residual connections, the expanded
    network computes exactly what the original computes; this is checked before the first step. In post-norm blocks the
    weights and biases of the norms are set to zero instead of the projections. Networks with parallel blocks are
    refused, because a copy of such a block cannot be made an identity in this way.

    Args:
        blocks: p, the number of inserted blocks; it must divide the number of blocks L (paper: 1 to 4 of 12).
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
            UserError: If the network's blocks cannot be copied in this way, or `blocks` does not divide their number.
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
        """Two random images of the stream's image size."""
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
        """Check that the features have not changed. Features that are not finite pass; they are reported later."""
        moved, largest = float((after - before).abs().max()), float(before.abs().max())
        if moved > NEARLY * largest:
            raise UserError(
                f"block_expansion: with copies of its blocks that should add nothing the backbone computes something "
                f"else (features move by {moved:.2g} of {largest:.2g}): its blocks are of a kind that is not known"
            )

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the inserted blocks."""
        return {"blocks": self._bytes}


def identity_copy(block: nn.Module) -> nn.Module:
    """A trainable copy of a transformer block that adds nothing, because the last layer of each branch is zero."""
    inserted = copy.deepcopy(block)
    view = transformer_blocks(inserted)[0]
    last = (view.norm1, view.norm2) if isinstance(block, NORM_LAST) else (view.attn.proj, view.mlp.fc2)
    with torch.no_grad():
        for layer in last:
            for parameter in (layer.weight, getattr(layer, "bias", None)):
                if parameter is not None:
                    parameter.zero_()
    return inserted.requires_grad_(True)
