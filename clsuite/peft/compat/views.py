"""Views of blocks whose structure differs from timm's plain ones, with parts under timm's names.

A view is not part of the network: it refers to the network's own modules and parameters, and hooks are registered with
these. A hook on a view's ``attn.qkv`` receives the inputs ``[B, N, width]`` and the queries, keys and values ``[B, N, 3
* width]``, and can replace the latter, even if the network has no single layer for them:

* PyTorch's ``nn.MultiheadAttention``: see `clsuite.peft.compat.packed`;
* timm's fused projection with separate biases (EVA, BEiT): the biases are added after the layer as long as there are
  hooks;
* timm's three separate projections (EVA-02): each calls the hook with its own third, and zeros for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.peft.compat.packed import PackedAttention, scores_to_add
from clsuite.peft.compat.view import OPENED, Handles, View

Instead = Callable[[Tensor, Tensor | None], Tensor | None]


class BiasedQkv(View):
    """A fused projection whose biases are parameters of the attention."""

    def __init__(self, attention: Any) -> None:
        """Create a view of the projection of an attention."""
        qkv = attention.qkv
        super().__init__(qkv, in_features=qkv.in_features, out_features=qkv.out_features, weight=qkv.weight)
        self.q_bias, self.v_bias = attention.q_bias, attention.v_bias
        self.__dict__["_attention"] = attention  # not registered as a submodule: it is the parent

    def register_forward_hook(self, hook: Any, **keywords: Any) -> Any:
        """Call the hook with the output including biases, which the attention adds later while there are hooks."""
        attention = self.__dict__["_attention"]

        def with_bias(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
            bias = torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
            answer = hook(module, inputs, output + bias)
            return None if answer is None else answer - bias

        handle = self.of.register_forward_hook(with_bias, **keywords)
        before, users = vars(attention).get(OPENED, (attention.qkv_bias_separate, 0))
        vars(attention)[OPENED] = (before, users + 1)
        attention.qkv_bias_separate = True
        return Handles(handle.remove, self._leave)

    def _leave(self) -> None:
        attention = self.__dict__["_attention"]
        before, users = vars(attention).pop(OPENED)
        if users > 1:
            vars(attention)[OPENED] = (before, users - 1)
        else:
            attention.qkv_bias_separate = before


class SeparateQkv(nn.Module):
    """Three projections as one."""

    def __init__(self, *parts: nn.Linear) -> None:
        """Create a view of the projections of queries, keys and values."""
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.in_features, self.out_features = parts[0].in_features, sum(part.out_features for part in parts)

    def register_forward_hook(self, hook: Any, **keywords: Any) -> Any:
        """Call the hook with each projection's output and zeros for the others, and use its part of the result."""

        def at(place: int) -> Any:
            def on_third(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
                thirds = [torch.zeros_like(output)] * 3
                thirds[place] = output
                answer = hook(module, inputs, torch.cat(thirds, dim=-1))
                return None if answer is None else answer.chunk(3, dim=-1)[place]

            return on_third

        handles = [part.register_forward_hook(at(place), **keywords) for place, part in enumerate(self.parts)]
        return Handles(*(handle.remove for handle in handles))


def projection_weights(attention: Any) -> Sequence[Tensor]:
    """The matrices of queries, keys and values ``[width, inputs]`` of an attention or its view, to read or modify."""
    if isinstance(attention.qkv, SeparateQkv):
        return [part.weight for part in attention.qkv.parts]  # type: ignore[misc]
    return tuple(attention.qkv.weight.chunk(3))


def projection_gradients(attention: Any) -> Sequence[Tensor]:
    """The gradients of `projection_weights`, after a backward pass in which they were trainable."""
    if isinstance(attention.qkv, SeparateQkv):
        return [part.weight.grad for part in attention.qkv.parts]  # type: ignore[misc]
    return tuple(attention.qkv.weight.grad.chunk(3))


def projection_biases(attention: Any) -> Sequence[Tensor | None]:
    """The biases of queries, keys and values ``[width]``, None if there are none; they can be modified."""
    if isinstance(attention.qkv, SeparateQkv):
        return [part.bias for part in attention.qkv.parts]  # type: ignore[misc]
    if isinstance(attention.qkv, BiasedQkv):
        return attention.of.q_bias, attention.of.k_bias, attention.of.v_bias
    bias = attention.qkv.bias
    return [None] * 3 if bias is None else tuple(bias.chunk(3))


def override_attention(attention: Any, instead: Instead) -> Handles:
    """Replace the computation of an attention until the handle is removed.

    Args:
        attention: An attention or its view.
        instead: Receives the input ``[B, N, width]`` and the mask to add to the scores; it returns the output, or None
            to use the attention itself.
    """
    packed = isinstance(attention, PackedAttention)
    module = attention.of if packed else attention
    before, plain = vars(module).get("forward"), module.forward

    def forward(x: Tensor, *arguments: Any, attn_mask: Tensor | None = None, **keywords: Any) -> Any:
        answer = instead(x, scores_to_add(attn_mask, len(x), attention.num_heads) if packed else attn_mask)
        if answer is None:
            return plain(x, *arguments, attn_mask=attn_mask, **keywords)
        return (answer, None) if packed else answer

    def undo() -> None:
        if before is None:
            del module.forward
        else:
            module.forward = before

    module.forward = forward
    return Handles(undo)


def as_timm(module: Any) -> Any:
    """A transformer block with parts ``attn`` and ``mlp`` as named in timm, or None if it is not such a block."""
    attention, mlp = _attention(module), _mlp(module)
    if attention is None or mlp is None or hasattr(module, "ln_1_kv"):
        return None
    if attention is module.attn and mlp is module.mlp:
        return module
    norms = ("ln_1", "ln_2") if hasattr(module, "ln_1") else ("norm1", "norm2")
    first, second = (getattr(module, name, None) for name in norms)
    return View(module, attn=attention, mlp=mlp, norm1=first, norm2=second)


def _attention(module: Any) -> Any:
    attention: Any = getattr(module, "attn", None)
    if isinstance(attention, nn.MultiheadAttention) and attention.batch_first and attention.in_proj_weight is not None:
        return PackedAttention(attention)
    if isinstance(getattr(attention, "qkv", None), nn.Linear):
        if getattr(attention, "q_bias", None) is None:
            return attention
        return View(attention, qkv=BiasedQkv(attention), proj=attention.proj, num_heads=attention.num_heads)
    named = [getattr(attention, name, None) for name in ("q_proj", "k_proj", "v_proj")]
    parts = [part for part in named if isinstance(part, nn.Linear)]
    if len(parts) == 3:
        return View(attention, qkv=SeparateQkv(*parts), proj=attention.proj, num_heads=attention.num_heads)
    return None


def _mlp(module: Any) -> Any:
    mlp: Any = getattr(module, "mlp", None)
    if isinstance(getattr(mlp, "fc1", None), nn.Linear):
        return mlp
    if isinstance(getattr(mlp, "c_fc", None), nn.Linear):
        return View(mlp, fc1=mlp.c_fc, fc2=mlp.c_proj)
    if isinstance(getattr(mlp, "fc1_g", None), nn.Linear):
        return View(mlp, fc1=nn.ModuleList([mlp.fc1_g, mlp.fc1_x]), fc2=mlp.fc2)
    return None
