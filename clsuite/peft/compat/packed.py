"""PyTorch's ``nn.MultiheadAttention``, as in OpenCLIP's towers, with projections on which modules can act.

The original computes both projections without calling a layer. As long as one of them has a hook, the attention gets a
``forward`` that calls them. If no hook changes anything, the result is that of PyTorch, up to the order of
floating-point sums. A copy of such an attention has the new ``forward`` too, and uses the copy's weights.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.peft.compat.view import OPENED, Handles, View


class Projection(nn.Module):
    """One of the two projections of an ``nn.MultiheadAttention``, as a layer."""

    def __init__(self, opening: Opening, weight: Tensor, bias: Tensor | None) -> None:
        """Share the parameters of the attention."""
        super().__init__()
        self.weight, self.bias = weight, bias
        self.out_features, self.in_features = weight.shape
        self.__dict__["_opening"] = opening  # not registered as a submodule: it is the parent

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to ``[..., out_features]``."""
        return F.linear(inputs, self.weight, self.bias)

    def register_forward_hook(self, *arguments: Any, **keywords: Any) -> Any:
        """Let the attention call its projections until the last hook is removed."""
        handle = super().register_forward_hook(*arguments, **keywords)
        opening: Opening = self.__dict__["_opening"]
        return opening.enter(handle)


class Opening(nn.Module):
    """Replaces the computation of an ``nn.MultiheadAttention`` while modules act on its projections."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        """Create the projections; the attention is not modified."""
        super().__init__()
        self.__dict__["attention"] = attention  # not registered as a submodule: it is the parent
        self.users = 0
        self.qkv = Projection(self, attention.in_proj_weight, attention.in_proj_bias)
        self.proj = Projection(self, attention.out_proj.weight, attention.out_proj.bias)

    def enter(self, handle: Any) -> Handles:
        """Count a new hook; the first one replaces the ``forward`` of the attention."""
        self.users += 1
        attention = self.__dict__["attention"]
        if self.users == 1:
            attention.__dict__[OPENED] = self
            attention.forward = MethodType(_attend, attention)  # a copy of the attention binds it to itself
        return Handles(handle.remove, self._leave)

    def _leave(self) -> None:
        self.users -= 1
        if self.users == 0:
            attention = self.__dict__["attention"]
            del attention.__dict__[OPENED], attention.__dict__["forward"]


def _attend(
    attention: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    need_weights: bool = False,
    attn_mask: Tensor | None = None,
) -> tuple[Tensor, None]:
    """Self-attention over ``[B, N, width]`` that calls the projections."""
    opening = attention.__dict__[OPENED]
    batch, tokens, _ = query.shape
    parts = opening.qkv(query).reshape(batch, tokens, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    queries, keys, values = parts.unbind(0)
    mask = scores_to_add(attn_mask, batch, attention.num_heads)
    dropped = attention.dropout if attention.training else 0.0
    mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropped)
    return opening.proj(mixed.transpose(1, 2).reshape(batch, tokens, -1)), None


def scores_to_add(mask: Tensor | None, batch: int, heads: int) -> Tensor | None:
    """A mask of ``nn.MultiheadAttention`` as numbers to add to scores ``[B, heads, N, N]``."""
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, device=mask.device).masked_fill(mask, float("-inf"))
    return mask.view(batch, heads, *mask.shape[1:]) if mask.dim() == 3 else mask


class PackedAttention(View):
    """An ``nn.MultiheadAttention`` with one matrix for queries, keys and values."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        """Create a view of the attention."""
        super().__init__(attention, num_heads=attention.num_heads, head_dim=attention.head_dim)
        self.scale, self.gate = attention.head_dim**-0.5, None
        self.q_norm = self.k_norm = self.norm = self.proj_drop = nn.Identity()

    @property
    def _opening(self) -> Any:
        return vars(self.of).get(OPENED) or Opening(self.of)  # type: ignore[arg-type]

    @property
    def qkv(self) -> Projection:
        """The projection to queries, keys and values."""
        projection: Projection = self._opening.qkv
        return projection

    @property
    def proj(self) -> Projection:
        """The projection of the output."""
        projection: Projection = self._opening.proj
        return projection

    def register_forward_hook(self, hook: Any, **keywords: Any) -> Any:
        """Call the hook with the attention's output, without the weights that it also returns."""

        def on_first(module: nn.Module, inputs: Any, output: Any) -> Any:
            answer = hook(module, inputs, output[0])
            return None if answer is None else (answer, *output[1:])

        return self.of.register_forward_hook(on_first, **keywords)
