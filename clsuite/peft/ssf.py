"""SSF: learned scales and shifts after the operations of a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks
from clsuite.peft.route import Route

SPREAD = 0.02


class ScaleShift(nn.Module):
    """Scales and shifts ``[entries, width]`` for the output of an operation, drawn from N(1, 0.02) and N(0, 0.02)."""

    def __init__(self, width: int, entries: int, generator: torch.Generator) -> None:
        """Draw the initial values."""
        super().__init__()
        self.scale = nn.Parameter(1 + SPREAD * torch.randn(entries, width, generator=generator))
        self.shift = nn.Parameter(SPREAD * torch.randn(entries, width, generator=generator))

    def forward(self, outputs: Tensor, route: Route | None = None) -> Tensor:
        """Map ``[B, N, width]`` to the same shape; the differences of several entries from 1 and from 0 are added."""
        if route is None:
            scale = self.scale[0] if len(self.scale) == 1 else 1 + (self.scale - 1).sum(dim=0)
            shift = self.shift.sum(dim=0)
        else:
            weights = route.weights(self.scale.dtype)
            scale, shift = (1 + weights @ (self.scale - 1))[:, None], (weights @ self.shift)[:, None]
        return outputs * scale.to(outputs.dtype) + shift.to(outputs.dtype)


class SSF(PET):
    """Scales and shifts the outputs of the norms and linear layers of each selected block, channel by channel.

    Lian et al., "Scaling & shifting your features: a new baseline for efficient model tuning" (NeurIPS 2022), section
    3.2, with their initialization: after both norms, the projections of the attention and both layers of the MLP. The
    authors also use them after the patch embedding and the last norm, which are not part of a block. It has no size.
    FiLM in Panos et al. (ICCV 2023) is the same operation in a ResNet.
    """

    role = "scales"

    def __init__(self, model: nn.Module, blocks: Sequence[int], generator: torch.Generator, entries: int = 1) -> None:
        """Create the scales and shifts for a network.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            generator: Source of the initial values.
            entries: Number of entries to which samples can be routed.
        """
        super().__init__()
        self._blocks = tuple(blocks)
        found = transformer_blocks(model)
        self.parts = nn.ModuleDict()
        for number in self._blocks:
            for name, _, width in operations(found[number]):
                self.parts[f"{number}_{name}"] = ScaleShift(width, entries, generator)

    def attach(self, model: nn.Module) -> None:
        """Attach after the operations."""
        found = transformer_blocks(model)
        for number in self._blocks:
            for name, operation, _ in operations(found[number]):
                hook = self._hook(self.parts[f"{number}_{name}"])
                self._handles.append(operation.register_forward_hook(hook))

    def _hook(self, part: nn.Module) -> Any:
        def modulate(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return part(output, self.route) if self.enabled else None

        return modulate


def operations(block: Any) -> Iterator[tuple[str, Any, int]]:
    """Name, module and output width of a block's norms and linear layers; a gated MLP has two first layers."""
    width = block.attn.qkv.in_features
    for name in ("norm1", "norm2"):
        if getattr(block, name, None) is not None:
            yield name, getattr(block, name), width
    yield "qkv", block.attn.qkv, block.attn.qkv.out_features
    yield "proj", block.attn.proj, width
    first = block.mlp.fc1 if isinstance(block.mlp.fc1, nn.ModuleList) else [block.mlp.fc1]
    for place, layer in enumerate(first):
        yield f"fc1_{place}", layer, layer.out_features
    yield "fc2", block.mlp.fc2, width
