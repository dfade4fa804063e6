"""Prefix tuning: learned keys and values in the attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.vision_transformer import Attention  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.errors import UserError
from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks
from clsuite.peft.compat.packed import PackedAttention
from clsuite.peft.compat.views import Instead, override_attention
from clsuite.peft.prompt import PromptInit, first_values
from clsuite.peft.reads import Read
from clsuite.peft.route import Route


class KeyValues(nn.Module):
    """Learned keys and values ``[entries * length, width]``, with a learnable scale for each entry or without."""

    key_scale: nn.Parameter | None
    value_scale: nn.Parameter | None

    def __init__(
        self,
        width: int,
        length: int,
        generator: torch.Generator,
        entries: int = 1,
        init: PromptInit = "small",
        learn_scale: bool = True,
    ) -> None:
        """Draw the initial values (`first_values`)."""
        super().__init__()
        size = (length * entries, width)
        self.keys = nn.Parameter(first_values(init, size, generator))
        self.values = nn.Parameter(first_values(init, size, generator))
        scales = () if entries == 1 else (entries,)
        self.key_scale = nn.Parameter(torch.ones(scales)) if learn_scale else None
        self.value_scale = nn.Parameter(torch.ones(scales)) if learn_scale else None

    def scaled(self, route: Route | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values, ``[entries * length, width]`` or, per sample, ``[B, k * length, width]``."""
        keys, values = _scaled(self.keys, self.key_scale), _scaled(self.values, self.value_scale)
        return (keys, values) if route is None else (route.gather(keys), route.gather(values))


def _scaled(rows: Tensor, scale: Tensor | None) -> Tensor:
    if scale is None:
        return rows
    return scale * rows if scale.dim() == 0 else scale.repeat_interleave(len(rows) // len(scale))[:, None] * rows


class Prefix(PET):
    """Learned keys and values that every query also attends to.

    Li & Liang (ACL 2021), in the form of LAE (Gao et al., ICCV 2023, section 3.3): they are inserted after the
    projection, and a query's attention to them is normalized to a sum of 1, while its attention to the tokens keeps the
    values of the joint softmax. If lambda is the prefix's share of that softmax, the weights of a query sum to 2 -
    lambda. A joint prefix is Li & Liang's own form, as in DualPrompt and HiDe-Prompt: one softmax over prefix and
    tokens, and no scales.
    """

    role = "prompts"

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[int],
        length: int,
        generator: torch.Generator,
        *,
        entries: int = 1,
        joint: bool = False,
        init: PromptInit = "small",
    ) -> None:
        """Create the prefixes for a network.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            length: Number of keys and values in each block.
            generator: Source of the initial values.
            entries: Number of entries to which samples can be routed.
            joint: Whether one softmax runs over prefix and tokens.
            init: The initial values; see `first_values`.
        """
        super().__init__()
        self._blocks, self._joint = tuple(blocks), joint
        found = transformer_blocks(model)
        self.parts = nn.ModuleDict()
        for number in self._blocks:
            _check(found[number].attn)
            width = found[number].attn.qkv.out_features // 3
            self.parts[str(number)] = KeyValues(width, length, generator, entries, init, learn_scale=not joint)

    def reads(self) -> list[Read]:
        """The keys are read by the queries of their block."""
        return [Read(f"parts.{number}.keys", (), "queries", number) for number in self._blocks]

    def attach(self, model: nn.Module) -> None:
        """Replace the attention of each selected block by one with a prefix."""
        found = transformer_blocks(model)
        for number in self._blocks:
            part = self.parts[str(number)]
            assert isinstance(part, KeyValues)
            self._handles.append(override_attention(found[number].attn, self._instead(found[number].attn, part)))

    def _instead(self, attention: Any, part: KeyValues) -> Instead:
        def instead(x: Tensor, mask: Tensor | None) -> Tensor | None:
            if not self.enabled:
                return None
            return attention_with_prefix(attention, x, *part.scaled(self.route), beside=not self._joint, mask=mask)

        return instead


class GivenPrefix(PET):
    """A prefix without its own parameters: a plugin sets keys and values for each forward pass, optionally per sample.

    This is Li & Liang's form, as in DualPrompt (Wang et al., ECCV 2022, section 4.2): one softmax over prefix and
    tokens.

    Attributes:
        given: Keys and values by number of the block, ``[length, width]`` or ``[B, length, width]``. A block without
            them attends to its tokens only.
    """

    def __init__(self, blocks: Sequence[int]) -> None:
        """Create a module for the blocks of these numbers, without keys and values."""
        super().__init__()
        self._blocks = tuple(blocks)
        self.given: dict[int, tuple[Tensor, Tensor]] = {}

    def release(self) -> None:
        """Forget the keys and values of the last pass."""
        super().release()
        self.given = {}

    def attach(self, model: nn.Module) -> None:
        """Replace the attention of each block by one with a prefix.

        Raises:
            UserError: If the attention is of a kind that cannot be computed exactly this way.
        """
        found = transformer_blocks(model)
        for number in self._blocks:
            _check(found[number].attn)
            self._handles.append(override_attention(found[number].attn, self._instead(found[number].attn, number)))

    def _instead(self, attention: Any, number: int) -> Instead:
        def instead(x: Tensor, mask: Tensor | None) -> Tensor | None:
            if not self.enabled or number not in self.given:
                return None
            return attention_with_prefix(attention, x, *self.given[number], beside=False, mask=mask)

        return instead


def _check(attention: Any) -> None:
    plain = isinstance(attention, PackedAttention) or type(attention) is Attention
    if not plain or attention.gate is not None:
        make = type(getattr(attention, "of", attention)).__name__
        raise UserError(
            f"prefix: the backbone's attention ({make}) is not the plain one, and would not be computed as it is; "
            "take lora or adapter"
        )


def prefix_weights(scores: Tensor, length: int) -> Tensor:
    """Attention weights ``[..., length + tokens]`` from scores whose first columns belong to the prefix."""
    prefix = scores[..., :length].softmax(dim=-1)  # equals the joint softmax over the prefix's share, but is stable
    return torch.cat([prefix, scores.softmax(dim=-1)[..., length:]], dim=-1)


def attention_with_prefix(
    attention: Any, x: Tensor, keys: Tensor, values: Tensor, *, beside: bool, mask: Tensor | None = None
) -> Tensor:
    """Timm's attention over ``x [B, N, C]`` with a prefix.

    Args:
        attention: Timm's module.
        x: The tokens.
        keys: Keys of the prefix: ``[length, width]``, or ``[B, length, width]`` per sample.
        values: Values of the prefix, likewise.
        beside: Whether the weights are LAE's, with prefix and tokens normalized separately, or one softmax over both.
        mask: Added to the scores of the tokens; the prefix is not masked.
    """
    batch, tokens, _ = x.shape
    heads, size = attention.num_heads, attention.head_dim
    queries, own_keys, own_values = (
        attention.qkv(x).reshape(batch, tokens, 3, heads, size).permute(2, 0, 3, 1, 4).unbind(0)
    )
    queries, own_keys = attention.q_norm(queries), attention.k_norm(own_keys)
    length = keys.shape[-2]

    def by_head(rows: Tensor) -> Tensor:
        shaped = rows.reshape(-1, length, heads, size).transpose(1, 2)
        return shaped.expand(batch, -1, -1, -1).to(own_keys.dtype)

    keys = torch.cat([by_head(keys), own_keys], dim=2)
    values = torch.cat([by_head(values), own_values], dim=2)
    open_mask = None if mask is None else F.pad(mask, (length, 0))
    if not beside and getattr(attention, "fused_attn", False):
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=open_mask)
    else:
        scores = (queries * attention.scale) @ keys.transpose(-2, -1)
        scores = scores if open_mask is None else scores + open_mask
        weights = prefix_weights(scores, length) if beside else scores.softmax(dim=-1)
        mixed = weights.to(values.dtype) @ values
    mixed = attention.norm(mixed.transpose(1, 2).reshape(batch, tokens, heads * size))
    answer: Tensor = attention.proj_drop(attention.proj(mixed))
    return answer
