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
from clsuite.peft.packed import PackedAttention
from clsuite.peft.sites import transformer_blocks
from clsuite.peft.views import Instead, override_attention


class KeyValues(nn.Module):
    """Learned keys and values ``[length, width]``, each with a learnable scale."""

    def __init__(self, width: int, length: int, generator: torch.Generator) -> None:
        """Draw from U(0, 0.01)."""
        super().__init__()
        self.keys = nn.Parameter(torch.empty(length, width).uniform_(0, 0.01, generator=generator))
        self.values = nn.Parameter(torch.empty(length, width).uniform_(0, 0.01, generator=generator))
        self.key_scale, self.value_scale = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))


class Prefix(PET):
    """Learned keys and values that every query also attends to.

    Li & Liang (ACL 2021), in the form that LAE (Gao et al., ICCV 2023, section 3.3) uses: they stand behind the
    projection, and the attention that a query gives them is divided by its sum, while what it gives the tokens stays as
    the joint softmax made it. With lambda the prefix's share of that softmax, the weights of a query sum to 2 - lambda.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[int], length: int, generator: torch.Generator) -> None:
        """Make the prefixes for a network.

        Args:
            model: The network; it is not changed.
            blocks: Numbers of the blocks.
            length: Number of keys and values in each block.
            generator: Source of the first values.
        """
        super().__init__()
        self._blocks = tuple(blocks)
        found = transformer_blocks(model)
        for number in self._blocks:
            _check(found[number].attn)
        self.parts = nn.ModuleDict(
            {str(n): KeyValues(found[n].attn.qkv.out_features // 3, length, generator) for n in self._blocks}
        )

    def attach(self, model: nn.Module) -> None:
        """Put an attention with a prefix in place of each chosen block's."""
        found = transformer_blocks(model)
        for number in self._blocks:
            part = self.parts[str(number)]
            assert isinstance(part, KeyValues)
            self._handles.append(override_attention(found[number].attn, self._instead(found[number].attn, part)))

    def _instead(self, attention: Any, part: KeyValues) -> Instead:
        def instead(x: Tensor, mask: Tensor | None) -> Tensor | None:
            return prefix_attention(attention, part, x, mask) if self.enabled else None

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
    prefix = scores[..., :length].softmax(dim=-1)  # the joint softmax divided by the prefix's share, without underflow
    return torch.cat([prefix, scores.softmax(dim=-1)[..., length:]], dim=-1)


def prefix_attention(attention: Any, part: KeyValues, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The attention of timm over ``x [B, N, C]`` with a prefix, which a mask over the tokens leaves open."""
    batch, tokens, _ = x.shape
    heads, size = attention.num_heads, attention.head_dim
    queries, keys, values = attention.qkv(x).reshape(batch, tokens, 3, heads, size).permute(2, 0, 3, 1, 4).unbind(0)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)

    def by_head(learned: Tensor) -> Tensor:
        return learned.view(1, -1, heads, size).transpose(1, 2).expand(batch, -1, -1, -1).to(keys.dtype)

    keys = torch.cat([by_head(part.key_scale * part.keys), keys], dim=2)
    values = torch.cat([by_head(part.value_scale * part.values), values], dim=2)
    scores = (queries * attention.scale) @ keys.transpose(-2, -1)
    if mask is not None:
        scores = scores + F.pad(mask, (len(part.keys), 0))
    mixed = prefix_weights(scores, len(part.keys)).to(values.dtype) @ values
    mixed = attention.norm(mixed.transpose(1, 2).reshape(batch, tokens, heads * size))
    answer: Tensor = attention.proj_drop(attention.proj(mixed))
    return answer
