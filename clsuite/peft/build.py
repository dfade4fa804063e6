"""Creates a parameter-efficient module by its kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import nn

from clsuite.backbones.clip import clip_of
from clsuite.errors import UserError, did_you_mean
from clsuite.peft.adapter import Adapter
from clsuite.peft.adaptformer import AdaptFormer
from clsuite.peft.base import PET
from clsuite.peft.blocks import choose_blocks, transformer_blocks
from clsuite.peft.ia3 import IA3
from clsuite.peft.lora import LoRA
from clsuite.peft.prefix import Prefix
from clsuite.peft.prompt import Prompt, PromptInit
from clsuite.peft.protocols import Host
from clsuite.peft.ssf import SSF
from clsuite.peft.text_context import TextContext

PetKind = Literal["lora", "adapter", "prefix", "prompt", "ia3", "adaptformer", "ssf"]
PET_KINDS: tuple[str, ...] = get_args(PetKind)

OF_KINDS: Mapping[str, tuple[str, ...]] = {
    "targets": ("lora",),
    "alpha": ("lora",),
    "learn_scale": ("lora", "adapter", "prefix"),
    "place": ("adapter",),
    "prompt_init": ("prompt", "prefix"),
    "joint": ("prefix",),
    "ends": ("ssf",),
    "adapter_scale": ("adaptformer",),
    "adapter_dropout": ("adaptformer",),
}
"""Arguments that only some kinds accept."""


def build_pet(
    kind: PetKind,
    model: nn.Module,
    *,
    size: int,
    blocks: str,
    generator: torch.Generator,
    targets: str | None = None,
    alpha: float | None = None,
    learn_scale: bool = False,
    place: Literal["attn", "mlp"] | None = None,
    prompt_init: PromptInit | None = None,
    joint: bool = False,
    ends: bool = False,
    adapter_scale: float | None = None,
    adapter_dropout: float | None = None,
    entries: int = 1,
) -> PET:
    """Create a module for a network, without modifying the network.

    Args:
        kind: ``lora``, ``adapter``, ``prefix``, ``prompt``, ``ia3``, ``adaptformer`` or ``ssf``.
        model: The network.
        size: Rank, bottleneck, or length; IA3 and SSF have none.
        blocks: Selected blocks: ``all``, ``0-4``, ``0,2,5``.
        generator: Source of the initial values (on the CPU).
        targets: For LoRA: the projections; by default query and value (Hu et al.).
        alpha: For LoRA: the numerator of its factor; by default the rank.
        learn_scale: For LoRA: whether each projection has a learnable factor. Adapters, and prefixes that are not
            joint, always have one.
        place: For an adapter: the sub-block to which it is parallel; by default the attention.
        prompt_init: For a prompt or a prefix: its initial values (`first_values`); by default VPT's, or LAE's.
        joint: For a prefix: whether one softmax runs over prefix and tokens, without scales; by default LAE's form.
        ends: For SSF: whether it also acts after the patch embedding and the last norm, as the authors' does.
        adapter_scale: For AdaptFormer: what its output is multiplied with; by default 0.1, as the authors'.
        adapter_dropout: For AdaptFormer: dropout probability of its hidden units in training; by default 0.1, as the
            authors'.
        entries: Number of entries of that size; `PET.route` selects those that act on each sample.

    Raises:
        UserError: If the kind is unknown, does not accept an argument or its value, or the sizes or blocks do not fit
            the network.
    """
    if kind not in PET_KINDS:
        raise did_you_mean("kind of module", kind, PET_KINDS)
    _check_arguments(kind, {"targets": targets, "alpha": alpha, "place": place, "prompt_init": prompt_init})
    _check_arguments(kind, {"learn_scale": learn_scale or None, "joint": joint or None, "ends": ends or None})
    _check_arguments(kind, {"adapter_scale": adapter_scale, "adapter_dropout": adapter_dropout})
    if size < 1:
        raise UserError(f"{kind}: size is {size}, but must be at least 1")
    numbers = choose_blocks(transformer_blocks(model), blocks)
    if kind == "lora":
        chosen: dict[str, Any] = {"targets": targets or "q+v", "alpha": alpha, "learn_scale": learn_scale}
        return LoRA(model, numbers, size, generator, entries=entries, **chosen)
    if kind == "adapter":
        return Adapter(model, numbers, size, generator, place=place or "attn", entries=entries)
    if kind == "adaptformer":
        return AdaptFormer(model, numbers, size, generator, entries, **_of_adaptformer(adapter_scale, adapter_dropout))
    if kind == "prefix":
        return Prefix(model, numbers, size, generator, entries=entries, joint=joint, init=prompt_init or "small")
    if kind == "ia3":
        return IA3(model, numbers, entries)
    if kind == "ssf":
        return SSF(model, numbers, generator, entries, ends)
    return Prompt(model, numbers, size, generator, entries, prompt_init or "xavier")


def _check_arguments(kind: str, arguments: Mapping[str, Any]) -> None:
    for name, value in arguments.items():
        if value is not None and kind not in OF_KINDS[name]:
            raise UserError(f"{kind}: {name} belongs to {' and '.join(OF_KINDS[name])} only: leave it out")


def _of_adaptformer(scale: float | None, dropout: float | None) -> dict[str, float]:
    if scale is not None and not math.isfinite(scale):
        raise UserError(f"adaptformer: adapter_scale is {scale}, but must be a finite number")
    if dropout is not None and not 0 <= dropout < 1:
        raise UserError(f"adaptformer: adapter_dropout is {dropout}, but must be at least 0 and below 1")
    given = {"scale": scale, "dropout": dropout}
    return {name: value for name, value in given.items() if value is not None}


def attach_pet(learner: Host, plugin: Any, name: str, kind: PetKind, **build: Any) -> PET:
    """Freeze the backbone, and attach a new module that is trained, moved, saved and counted with the learner.

    Args:
        learner: The learner.
        plugin: The plugin that owns the module.
        name: Name of the module, unique within the plugin.
        kind: ``lora``, ``adapter``, ``prefix``, ``prompt``, ``ia3``, ``adaptformer`` or ``ssf``.
        build: Arguments of `build_pet`: ``size``, ``blocks``, ``generator`` and those of the kind.

    Raises:
        UserError: If the kind is unknown, does not accept an argument, or the sizes or blocks do not fit the network.
    """
    module = build_pet(kind, learner.backbone.model, **build)
    attach_module(learner, plugin, name, module)
    return module


def attach_module(learner: Host, plugin: Any, name: str, module: PET) -> None:
    """Freeze the backbone, and attach a module of a class of its own as `attach_pet` does.

    Args:
        learner: The learner.
        plugin: The plugin that owns the module.
        name: Name of the module, unique within the plugin.
        module: The module, made for ``learner.backbone.model``.
    """
    learner.backbone.requires_grad_(False)
    learner.register_plugin_module(plugin, name, module)
    module.attach(learner.backbone.model)


def attach_text_pet(
    learner: Host, plugin: Any, name: str, kind: PetKind, *, words: str = "", std: float = 0.02, **build: Any
) -> PET:
    """Freeze a CLIP, and attach a new module to its text tower, as `attach_pet` does to the image tower.

    Text features of classes are kept until the module's parameters change, and computed in each step while it is
    trained. Features of images do not depend on it.

    Args:
        learner: The learner.
        plugin: The plugin that owns the module.
        name: Name of the module, unique within the plugin.
        kind: As of `attach_pet`; a ``prompt`` is a `TextContext` of that many vectors, whatever the blocks.
        words: For a prompt: words whose token embeddings are its first values.
        std: For a prompt: standard deviation of the other first values.
        build: Arguments of `build_pet`.

    Raises:
        UserError: If the backbone is not a CLIP, or as `attach_pet`.
    """
    backbone = clip_of(learner.backbone, f"a {kind} in the text tower")
    backbone.requires_grad_(False)
    context = kind == "prompt"
    module: PET = (
        TextContext(backbone, build["size"], build["generator"], std, words)
        if context
        else build_pet(kind, backbone.text_model, **build)
    )
    learner.register_plugin_module(plugin, name, module)
    backbone.attach_to_text(module, backbone if context else None)
    return module
