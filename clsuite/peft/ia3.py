"""IA3: learned factors for keys, values and the hidden layer of the MLP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.errors import UserError
from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks
from clsuite.peft.compat.views import projection_biases, projection_weights
from clsuite.peft.route import Route


class Scales(nn.Module):
    """Factors for a block's keys and values ``[entries, width]`` and hidden layer ``[entries, hidden]``; 1 at first."""

    def __init__(self, width: int, hidden: int, entries: int) -> None:
        """Create the factors."""
        super().__init__()
        self.keys, self.values = nn.Parameter(torch.ones(entries, width)), nn.Parameter(torch.ones(entries, width))
        self.hidden = nn.Parameter(torch.ones(entries, hidden))

    def of_fused(self, route: Route | None = None) -> Tensor:
        """Factors ``[3 * width]``, or ``[B, 1, 3 * width]``, for the output of a fused qkv layer; 1 for queries."""
        return _together(torch.cat([torch.ones_like(self.keys), self.keys, self.values], dim=1), route)

    def of_hidden(self, route: Route | None = None) -> Tensor:
        """Factors ``[hidden]``, or ``[B, 1, hidden]``, for the hidden layer."""
        return _together(self.hidden, route)


def _together(factors: Tensor, route: Route | None) -> Tensor:
    """The combined factors of several entries ``[entries, width]``: 1 plus the sum of their differences from 1."""
    if route is None:
        return factors[0] if len(factors) == 1 else 1 + (factors - 1).sum(dim=0)
    return (1 + route.weights(factors.dtype) @ (factors - 1))[:, None]


class IA3(PET):
    """Scales keys and values of the attention and the hidden layer of the MLP, channel by channel.

    Liu et al., "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning" (NeurIPS
    2022), section 3.3: ``l_k * K``, ``l_v * V`` and ``l_ff * gelu(W x)``, all factors initially 1. It has no size.
    There is a linear layer before or after each factor, so that all of them can be merged into the weights.
    """

    role = "scales"

    def __init__(self, model: nn.Module, blocks: Sequence[int], entries: int = 1) -> None:
        """Create the factors for a network.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            entries: Number of entries to which samples can be routed.
        """
        super().__init__()
        self._blocks = tuple(blocks)
        found = transformer_blocks(model)
        self.parts = nn.ModuleDict(
            {
                str(n): Scales(found[n].attn.qkv.out_features // 3, found[n].mlp.fc2.in_features, entries)
                for n in self._blocks
            }
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
            return output * part.of_fused(self.route).to(output.dtype) if self.enabled else None

        return scale

    def _scale_hidden(self, part: Scales) -> Any:
        def scale(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            return (inputs[0] * part.of_hidden(self.route).to(inputs[0].dtype), *inputs[1:]) if self.enabled else None

        return scale

    @torch.no_grad()
    def merge(self, model: nn.Module, sign: float = 1.0) -> None:
        """Multiply the network's weights by the factors (with `sign` -1, divide by them again).

        Raises:
            UserError: If it would divide by zero.
        """
        found = transformer_blocks(model)
        factors = {number: (self._part(number).of_fused(), self._part(number).of_hidden()) for number in self._blocks}
        if sign < 0 and not all(factor.all() for pair in factors.values() for factor in pair):
            raise UserError("ia3: a factor is zero, so that what was merged cannot be taken out of the weights again")
        for number, pair in factors.items():
            block, (fused, hidden) = found[number], (factor**sign for factor in pair)
            weights, biases = projection_weights(block.attn), projection_biases(block.attn)
            for factor, weight, bias in zip(fused.chunk(3), weights, biases, strict=True):
                weight.mul_(factor[:, None])
                if bias is not None:
                    bias.mul_(factor)
            block.mlp.fc2.weight.mul_(hidden)
