"""Adapters: small bottleneck networks parallel to a sub-block or after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks
from clsuite.peft.route import Route

Activation = Callable[[Tensor], Tensor]


class Bottleneck(nn.Module):
    """``scale * up(dropout(activation(down(x))))`` with an up-projection that is initialized to zero.

    The entries of a pool are concatenated along the hidden units; each has its own scale and output bias.
    """

    scale: Tensor

    def __init__(
        self,
        width: int,
        bottleneck: int,
        generator: torch.Generator,
        entries: int = 1,
        *,
        activation: Activation = nn.functional.gelu,
        scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        """Create the two projections without using the global random generator.

        Args:
            width: Width of inputs and outputs.
            bottleneck: Number of hidden units of an entry.
            generator: Source of the initial values.
            entries: Number of entries.
            activation: Activation of the hidden units.
            scale: A fixed factor; by default it is learned and initialized to 1.
            dropout: Dropout probability of the hidden units in training.
        """
        super().__init__()
        self.down = nn.Linear(width, bottleneck * entries, device="meta").to_empty(device="cpu")
        self.up = nn.Linear(bottleneck * entries, width, device="meta").to_empty(device="cpu")
        if entries > 1:
            self.up.bias = nn.Parameter(torch.empty(entries, width))
        bound = 1 / math.sqrt(width)
        with torch.no_grad():
            self.down.weight.uniform_(-bound, bound, generator=generator)
            for zero in (self.down.bias, self.up.weight, self.up.bias):
                zero.zero_()
        ones = torch.ones(()) if entries == 1 else torch.ones(entries)
        if scale is None:
            self.scale = nn.Parameter(ones)
        else:
            self.register_buffer("scale", scale * ones, persistent=False)
        self._activation, self._dropout = activation, nn.Dropout(dropout)

    def forward(self, inputs: Tensor, route: Route | None = None) -> Tensor:
        """Map ``[..., width]`` to ``[..., width]``."""
        hidden = self._dropout(self._activation(self.down(inputs)))
        if self.scale.dim() == 0:
            added: Tensor = self.scale * self.up(hidden)
            return added
        scale = (
            self.scale if route is None else self.scale * route.weights(self.scale.dtype)
        )  # [entries] or [B, entries]
        size = hidden.shape[-1] // scale.shape[-1]
        gate, bias = scale.repeat_interleave(size, dim=-1), scale @ self.up.bias
        if route is not None:
            gate, bias = gate[:, None], bias[:, None]
        return nn.functional.linear(hidden * gate.to(hidden.dtype), self.up.weight) + bias


class Adapter(PET):
    """A bottleneck network in each selected block.

    Houlsby et al. (ICML 2019); the parallel form with a learnable scale of He et al., "Towards a unified view of
    parameter-efficient transfer learning" (ICLR 2022), as used in LAE: parallel to the attention, on ``norm1(x)``.
    """

    role = "adapters"

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[int],
        bottleneck: int,
        generator: torch.Generator,
        *,
        place: Literal["attn", "mlp"] = "attn",
        parallel: bool = True,
        entries: int = 1,
    ) -> None:
        """Create the bottleneck networks.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            bottleneck: Number of hidden units.
            generator: Source of the initial values.
            place: The sub-block that it belongs to.
            parallel: Whether it reads the sub-block's input (True) or its output.
            entries: Number of entries to which samples can be routed.
        """
        super().__init__()
        self._blocks, self._place, self._parallel = tuple(blocks), place, parallel
        found = transformer_blocks(model)
        self.parts = nn.ModuleDict(
            {str(n): Bottleneck(found[n].attn.qkv.in_features, bottleneck, generator, entries) for n in self._blocks}
        )

    def attach(self, model: nn.Module) -> None:
        """Attach to the sub-blocks."""
        found = transformer_blocks(model)
        for number in self._blocks:
            hook = self._hook(self.parts[str(number)])
            self._handles.append(getattr(found[number], self._place).register_forward_hook(hook))

    def _hook(self, part: nn.Module) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self.enabled:
                return None
            added: Tensor = part(inputs[0] if self._parallel else output, self.route)
            return output + added

        return add
