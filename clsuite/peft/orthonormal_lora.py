"""The LoRAs of CL-LoRA, whose A has orthonormal rows: one that tasks share, and one with a learned weight a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.peft.blocks import transformer_blocks
from clsuite.peft.lora import SLICES, LoRA, LowRank


@torch.no_grad()
def make_rows_orthonormal(module: LoRA, generator: torch.Generator) -> None:
    """Give every A of a LoRA orthonormal rows: the QR decomposition of a matrix of uniform draws."""
    for part in module.parts.values():
        assert isinstance(part, LowRank)
        draws = torch.empty(part.down.shape[::-1]).uniform_(generator=generator)
        part.down.copy_(torch.linalg.qr(draws).Q.T)


def row_weights(old: Tensor) -> Tensor:
    """Weights ``[rows, 1]`` with a mean of 1: the norms of a matrix's rows; all 1 where it is zero."""
    norms = old.norm(dim=1, keepdim=True)
    return torch.where(norms.sum() > 0, norms / norms.mean().clamp_min(1e-30), 1.0)


class SharedLoRA(LoRA):
    """A LoRA on queries and values whose A has orthonormal rows and is never trained."""

    def __init__(self, model: nn.Module, blocks: Sequence[int], rank: int, generator: torch.Generator) -> None:
        """Create the factors.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            rank: Rank of the added matrices.
            generator: Source of the rows.

        Raises:
            UserError: If the rank exceeds the width.
        """
        super().__init__(model, blocks, rank, generator)
        make_rows_orthonormal(self, generator)
        for name, values in self.named_parameters():
            values.requires_grad_(name.endswith("up"))

    def weigh_gradients(self, before: LoRA) -> None:
        """Multiply the gradient of each row of B with the row's share of the norm in an earlier B (`row_weights`)."""
        for mine, old in zip(self.parts.values(), before.parts.values(), strict=True):
            assert isinstance(mine, LowRank)
            assert isinstance(old, LowRank)
            if mine.up.grad is not None:
                mine.up.grad.mul_(row_weights(old.up.detach()))


class WeightedLoRA(LoRA):
    """A LoRA on queries, keys or values whose output is multiplied with a weight of its block and projection.

    Attributes:
        weights: ``[3, blocks]``, of queries, keys and values; from the uniform distribution on 0.5 to 1.5.
    """

    def __init__(
        self, model: nn.Module, blocks: Sequence[int], rank: int, generator: torch.Generator, targets: str = "q+v"
    ) -> None:
        """Create the factors, with orthonormal rows, and the weights.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            rank: Rank of the added matrices.
            generator: Source of the first values.
            targets: Some of ``q``, ``k`` and ``v``, joined by ``+``.

        Raises:
            UserError: If the rank exceeds the width.
        """
        super().__init__(model, blocks, rank, generator, targets=targets)
        make_rows_orthonormal(self, generator)
        self.weights = nn.Parameter(torch.empty(3, len(self._blocks)).uniform_(0.5, 1.5, generator=generator))

    def attach(self, model: nn.Module) -> None:
        """Attach to the projections."""
        found = transformer_blocks(model)
        for place, number in enumerate(self._blocks):
            self._handles.append(found[number].attn.qkv.register_forward_hook(self._weighted_hook(place, number)))

    def _weighted_hook(self, place: int, number: int) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self.enabled:
                return None
            pieces = list(output.chunk(3, dim=-1))
            for target in self.targets:
                added = self._part(number, target)(inputs[0], self.route)
                pieces[SLICES[target]] = pieces[SLICES[target]] + self.weights[SLICES[target], place] * added
            return torch.cat(pieces, dim=-1)

        return add
