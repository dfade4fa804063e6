"""What image tokens see of prompts in an attention: second moments of what prompts are multiplied with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.peft.blocks import transformer_blocks
from clsuite.peft.compat.views import SeparateQkv, projection_biases, projection_weights


class PromptMoments:
    """Sums over images, heads and image tokens of one block.

    Attributes:
        affinity: Of ``a a'``, where a ``[width]`` is a head's query times its key matrix: ``a p`` is the score of a
            prompt p behind the block's first norm. float64 ``[width, width]``.
        shares: Of ``s s'``, where s ``[prompts]`` are the attention weights of the prompts. float64.
        number: Number of terms.
    """

    def __init__(self, width: int, prompts: int) -> None:
        """Begin with sums of nothing."""
        self.affinity = torch.zeros(width, width, dtype=torch.float64)
        self.shares = torch.zeros(prompts, prompts, dtype=torch.float64)
        self.number = 0

    def add(self, attention: Any, inputs: Tensor) -> None:
        """Add the image tokens of a pass.

        Args:
            attention: Timm's attention or a view of another one as it.
            inputs: Tokens ``[B, 1 + prompts + N, width]``; prompts stand behind the first one.
        """
        batch, tokens, _ = inputs.shape
        heads, size, prompts = attention.num_heads, attention.head_dim, len(self.shares)
        parts = zip(projection_weights(attention)[:2], projection_biases(attention)[:2], strict=True)
        made = [F.linear(inputs.float(), weight, bias).view(batch, tokens, heads, size) for weight, bias in parts]
        queries, keys = attention.q_norm(made[0].transpose(1, 2)), attention.k_norm(made[1].transpose(1, 2))
        of_images = torch.cat([queries[:, :, :1], queries[:, :, 1 + prompts :]], dim=2)
        by_head = projection_weights(attention)[1].float().view(heads, size, -1)
        affinity = (of_images @ by_head).flatten(0, 2)
        weights = ((of_images * attention.scale) @ keys.mT).softmax(dim=-1)
        shares = weights[..., 1 : 1 + prompts].flatten(0, 2)
        self.affinity += (affinity.T @ affinity).double().cpu()
        self.shares += (shares.T @ shares).double().cpu()
        self.number += len(affinity)


@contextmanager
def prompt_moments(model: nn.Module, blocks: Sequence[int], prompts: int) -> Iterator[list[PromptMoments]]:
    """Sums of some blocks over all passes while the context lasts.

    Args:
        model: The network, with a `Prompt` of the same blocks attached.
        blocks: Numbers of the blocks.
        prompts: Number of prompts in each.
    """
    found = transformer_blocks(model)
    sums = [PromptMoments(found[0].attn.qkv.in_features, prompts) for _ in blocks]

    def watch(place: int, attention: Any) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            with torch.autocast(output.device.type, enabled=False):
                sums[place].add(attention, inputs[0].detach())

        return add

    handles = []
    for place, number in enumerate(blocks):
        attention = found[number].attn
        layer: Any = attention.qkv.parts[0] if isinstance(attention.qkv, SeparateQkv) else attention.qkv
        handles.append(layer.register_forward_hook(watch(place, attention)))
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()
