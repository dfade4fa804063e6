"""IA3: learned scaling of keys, values and the hidden layer of the MLP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.errors import UserError
from clsuite.peft.base import PET
from clsuite.peft.sites import transformer_blocks


class Scales(nn.Module):
    """Factors of one block's keys and values ``[width]`` and of its hidden layer ``[hidden]``, all 1 at the start."""

    def __init__(self, width: int, hidden: int) -> None:
        """Make the factors."""
        super().__init__()
        self.keys, self.values = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.hidden = nn.Parameter(torch.ones(hidden))

    def of_fused(self) -> Tensor:
        """Factors ``[3 * width]`` of the output of a fused qkv projection; those of the queries are 1."""
        return torch.cat([torch.ones_like(self.keys), self.keys, self.values])


class IA3(PET):
    """Scales what the attention's keys and values and the MLP's hidden layer say, channel by channel.

    Liu et al., "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning" (NeurIPS
    2022), section 3.3: ``l_k * K``, ``l_v * V`` and ``l_ff * gelu(W x)``, all factors 1 at the start. It has no size.
    A linear layer stands before or behind each factor, so that all of them can be merged into the weights.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[int]) -> None:
        """Make the factors for a network.

        Args:
            model: The network; it is not changed.
            blocks: Numbers of the blocks.
        """
        super().__init__()
        self._blocks = tuple(blocks)
        found = transformer_blocks(model)
        self.parts = nn.ModuleDict(
            {str(n): Scales(found[n].attn.qkv.out_features // 3, found[n].mlp.fc2.in_features) for n in self._blocks}
        )

    def attach(self, model: nn.Module) -> None:
        """Attach to the fused projections and to the MLPs' second layers."""
        found = transformer_blocks(model)
        for number in self._blocks:
            part = self._part(number)
            self._handles.append(found[number].attn.qkv.register_forward_hook(self._scale_fused(part)))
            self._handles.append(found[number].mlp.fc2.register_forward_pre_hook(self._scale_hidden(part)))

    def _part(self, number: int) -> Scales:
        part = self.parts[str(number)]
        assert isinstance(part, Scales)
        return part

    def _scale_fused(self, part: Scales) -> Any:
        def scale(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return output * part.of_fused().to(output.dtype) if self.enabled else None

        return scale

    def _scale_hidden(self, part: Scales) -> Any:
        def scale(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            return (inputs[0] * part.hidden.to(inputs[0].dtype), *inputs[1:]) if self.enabled else None

        return scale

    @torch.no_grad()
    def merge(self, model: nn.Module, sign: float = 1.0) -> None:
        """Multiply the network's weights by the factors (`sign` -1 divides by them again).

        Raises:
            UserError: If it would divide by zero.
        """
        found = transformer_blocks(model)
        if sign < 0 and any(not parameter.all() for parameter in self.parameters()):
            raise UserError("ia3: a factor is zero, so that what was merged cannot be taken out of the weights again")
        for number in self._blocks:
            part, block = self._part(number), found[number]
            fused, hidden = part.of_fused() ** sign, part.hidden**sign
            block.attn.qkv.weight.mul_(fused[:, None])
            if block.attn.qkv.bias is not None:
                block.attn.qkv.bias.mul_(fused)
            block.mlp.fc2.weight.mul_(hidden)
