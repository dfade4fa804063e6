"""A parameter-efficient module by its kind."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

from clsuite.errors import UserError, did_you_mean
from clsuite.peft.adapter import Adapter
from clsuite.peft.adaptformer import AdaptFormer
from clsuite.peft.base import PET
from clsuite.peft.ia3 import IA3
from clsuite.peft.lora import LoRA
from clsuite.peft.prefix import Prefix
from clsuite.peft.prompt import Prompt
from clsuite.peft.sites import choose_blocks, transformer_blocks

PetKind = Literal["lora", "adapter", "prefix", "prompt", "ia3", "adaptformer"]
PET_KINDS: tuple[str, ...] = get_args(PetKind)


def build_pet(
    kind: PetKind,
    model: nn.Module,
    *,
    size: int,
    blocks: str,
    generator: torch.Generator,
    targets: str = "k+v",
    alpha: float | None = None,
    learn_scale: bool = False,
    place: Literal["attn", "mlp"] = "attn",
    entries: int = 1,
) -> PET:
    """Build a module for a network and leave the network as it is.

    Args:
        kind: ``lora``, ``adapter``, ``prefix``, ``prompt``, ``ia3`` or ``adaptformer``.
        model: The network.
        size: Rank, bottleneck, or length; IA3 has none.
        blocks: Which blocks: ``all``, ``0-4``, ``0,2,5``.
        generator: Source of the first values (on the CPU).
        targets: Of LoRA: the projections.
        alpha: Of LoRA.
        learn_scale: Of LoRA: a learnable factor for each projection.
        place: Of an adapter: the sub-block that it is parallel to.
        entries: How many of that size to make, side by side; `PET.route` says which act on which sample.

    Raises:
        UserError: If the kind is unknown, or the sizes or blocks do not fit the network.
    """
    if kind not in PET_KINDS:
        raise did_you_mean("kind of module", kind, PET_KINDS)
    if size < 1:
        raise UserError(f"{kind}: size is {size}, but must be at least 1")
    numbers = choose_blocks(transformer_blocks(model), blocks)
    if kind == "lora":
        return LoRA(
            model, numbers, size, generator, alpha=alpha, targets=targets, learn_scale=learn_scale, entries=entries
        )
    if kind == "adapter":
        return Adapter(model, numbers, size, generator, place=place, entries=entries)
    if kind == "adaptformer":
        return AdaptFormer(model, numbers, size, generator, entries)
    if kind == "prefix":
        return Prefix(model, numbers, size, generator, entries=entries)
    if kind == "ia3":
        return IA3(model, numbers, entries)
    return Prompt(model, numbers, size, generator, entries)
