"""SSF: learned scales and shifts after the operations of a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.errors import UserError
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
    authors also use them at both ends: after the patch embedding and the last norm, which are not part of a block. It
    has no size. FiLM in Panos et al. (ICCV 2023) is the same operation in a ResNet.
    """

    role = "scales"

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[int],
        generator: torch.Generator,
        entries: int = 1,
        ends: bool = False,
    ) -> None:
        """Create the scales and shifts for a network.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            generator: Source of the initial values.
            entries: Number of entries to which samples can be routed.
            ends: Whether also after the patch embedding and the last norm.

        Raises:
            UserError: If there are no such ends.
        """
        super().__init__()
        self._blocks, self._ends = tuple(blocks), ends
        self.parts = nn.ModuleDict()
        for name, _, width in self._places(model):
            self.parts[name] = ScaleShift(width, entries, generator)

    def _places(self, model: nn.Module) -> Iterator[tuple[str, Any, int]]:
        """Name, module and output width of what is scaled and shifted."""
        found = transformer_blocks(model)
        for number in self._blocks:
            for name, operation, width in operations(found[number]):
                yield f"{number}_{name}", operation, width
        if self._ends:
            yield from ends_of(model, found[0].attn.qkv.in_features)

    def attach(self, model: nn.Module) -> None:
        """Attach after the operations."""
        for name, operation, _ in self._places(model):
            self._handles.append(operation.register_forward_hook(self._hook(self.parts[name])))

    def _hook(self, part: nn.Module) -> Any:
        def modulate(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self.enabled:
                return None
            if output.dim() == 2:  # pooled by then
                pooled: Tensor = part(output[:, None], self.route)
                return pooled[:, 0]
            modulated: Tensor = part(output, self.route)
            return modulated

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


def ends_of(model: Any, width: int) -> Iterator[tuple[str, Any, int]]:
    """Name, module and output width of a network's patch embedding and last norm, where tokens may be pooled already.

    Raises:
        UserError: If it has none.
    """
    norms = [getattr(model, name, None) for name in ("norm", "fc_norm")]
    last = next((norm for norm in norms if norm is not None and not isinstance(norm, nn.Identity)), None)
    if last is None or getattr(model, "patch_embed", None) is None:
        raise UserError(
            f"ssf: the backbone ({type(model).__name__}) has no patch embedding and last norm as timm's ViTs have: "
            "leave ends out"
        )
    yield "patch_embed", model.patch_embed, width
    yield "norm", last, width
