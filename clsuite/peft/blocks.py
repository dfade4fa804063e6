"""The places where modules are attached: transformer blocks and their parts, found by structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from clsuite.errors import UserError
from clsuite.peft.compat.views import as_timm


def transformer_blocks(model: nn.Module) -> list[Any]:
    """The blocks of a transformer, in order.

    A block is a module with an attention (``attn.qkv``, ``attn.proj``) and an MLP (``mlp.fc1``, ``mlp.fc2``): timm's
    own, or a view that gives these names to the parts of another block (see `clsuite.peft.compat.views`).

    Raises:
        UserError: If there are no blocks.
    """
    blocks = [block for module in model.modules() if (block := as_timm(module)) is not None]
    if not blocks:
        raise UserError(
            f"the backbone ({type(model).__name__}) has no transformer blocks with an attention and an MLP "
            "that modules can be attached to: it needs a ViT"
        )
    return blocks


def block_list(model: nn.Module) -> tuple[nn.Module, str]:
    """The list of a network's blocks: the module that contains it, and its name there.

    Raises:
        UserError: If they are not in one list, or one of them does not have its own attention and MLP (parallel
            blocks).
    """
    for parent in model.modules():
        for name, child in parent.named_children():
            blocks = list(child) if isinstance(child, nn.Sequential | nn.ModuleList) else []
            views = [as_timm(block) for block in blocks]
            if any(view is not None for view in views):
                if all(view is not None for view in views):
                    return parent, name
                raise UserError("the backbone's blocks are of different types")
    found = getattr(model, "blocks", None)
    make = type(found[0]).__name__ if isinstance(found, nn.Sequential | nn.ModuleList) and len(found) else ""
    raise UserError(
        f"the backbone's blocks ({make}) have no attention and MLP, one behind the other, to copy"
        if make
        else f"the backbone ({type(model).__name__}) has no list of blocks with an attention and an MLP: it needs a ViT"
    )


def final_norm(model: nn.Module) -> tuple[nn.Module, int]:
    """The norm after the last block that all tokens pass, and the number of tokens before the patches.

    Raises:
        UserError: If there is none, or the tokens are pooled before the norm.
    """
    for module in model.modules():
        parts: Any = module
        if hasattr(module, "blocks") and isinstance(getattr(module, "norm", None), nn.Module):
            return parts.norm, int(getattr(module, "num_prefix_tokens", 1))
        of_clip = hasattr(module, "transformer") and hasattr(module, "ln_post")
        if of_clip and not parts.final_ln_after_pool and parts.attn_pool is None:
            return parts.ln_post, 1
    raise UserError(f"the backbone ({type(model).__name__}) has no norm that every token passes behind the last block")


def choose_blocks(blocks: Sequence[Any], chosen: str) -> list[int]:
    """Parse numbers of blocks: ``all``, ``0-4``, ``0,2,5``.

    Raises:
        UserError: If the text is invalid or a block does not exist.
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
