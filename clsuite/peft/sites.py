"""Where modules are attached: the transformer blocks of a network and their parts, found by structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from clsuite.errors import UserError


def transformer_blocks(model: nn.Module) -> list[Any]:
    """The blocks of a vision transformer, in order.

    A block is a module with an attention of fused projections (``attn.qkv``, ``attn.proj``) and an MLP.

    Raises:
        UserError: If there are none.
    """
    blocks = [module for module in model.modules() if _is_block(module)]
    if not blocks:
        raise UserError("the backbone has no transformer blocks with a fused qkv projection: it needs a ViT")
    return blocks


def _is_block(module: nn.Module) -> bool:
    attention, mlp = getattr(module, "attn", None), getattr(module, "mlp", None)
    fused = getattr(attention, "qkv", None)
    return isinstance(fused, nn.Linear) and isinstance(getattr(mlp, "fc1", None), nn.Linear)


def choose_blocks(blocks: Sequence[Any], chosen: str) -> list[int]:
    """Numbers of blocks from text: ``all``, ``0-4``, ``0,2,5``.

    Raises:
        UserError: If the text cannot be read or a block does not exist.
    """
    if chosen.strip() == "all":
        return list(range(len(blocks)))
    numbers: list[int] = []
    for part in chosen.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UserError(f"blocks '{chosen}' cannot be read: write all, 0-4 or 0,2,5")
        numbers += range(int(first), int(last or first) + 1)
    beyond = [number for number in numbers if number >= len(blocks)]
    if beyond:
        raise UserError(f"blocks '{chosen}': the backbone has only the blocks 0 to {len(blocks) - 1}")
    return sorted(set(numbers))
