"""Low-rank adaptation (LoRA)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clsuite.errors import UserError, did_you_mean
from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks
from clsuite.peft.compat.views import projection_gradients, projection_weights
from clsuite.peft.route import Route

TARGETS = ("q", "k", "v", "proj", "fc1", "fc2")
SLICES = {"q": 0, "k": 1, "v": 2}


class LowRank(nn.Module):
    """``scale * B A x`` for one projection: A ``[rank, inputs]`` (Kaiming uniform), B ``[outputs, rank]`` (zero)."""

    def __init__(
        self, inputs: int, outputs: int, rank: int, scale: float, learn_scale: bool, generator: torch.Generator
    ) -> None:
        """Create the two factors."""
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.down = nn.Parameter(torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.factor = scale
        self.scale = nn.Parameter(torch.ones(())) if learn_scale else None

    def forward(self, inputs: Tensor, route: Route | None = None) -> Tensor:
        """Map ``[..., inputs]`` to ``[..., outputs]``."""
        hidden = nn.functional.linear(inputs, self.down)
        added = self.factor * nn.functional.linear(hidden if route is None else route.gate(hidden), self.up)
        return added if self.scale is None else self.scale * added

    def delta(self) -> Tensor:
        """The matrix ``[outputs, inputs]`` that is added to the weight."""
        matrix = self.factor * (self.up @ self.down)
        return matrix if self.scale is None else self.scale * matrix


class LoRA(PET):
    """Adds a low-rank matrix to selected projections of each selected block.

    Hu et al., "LoRA: low-rank adaptation of large language models" (ICLR 2022), equation 3: ``W x + alpha/rank B A x``
    with B initially zero. The parts of a fused qkv projection are adapted separately.
    """

    role = "lora"

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[int],
        rank: int,
        generator: torch.Generator,
        *,
        alpha: float | None = None,
        targets: str = "q+v",
        rank_stabilized: bool = False,
        learn_scale: bool = False,
        entries: int = 1,
    ) -> None:
        """Create the factors for a network.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            rank: Rank of the added matrices.
            generator: Source of the initial values of A.
            alpha: Numerator of the factor; the rank by default (factor 1).
            targets: Some of ``q``, ``k``, ``v``, ``proj``, ``fc1`` and ``fc2``, joined by ``+``.
            rank_stabilized: Whether to divide by the root of the rank (Kalajdzievski 2023) instead of the rank.
            learn_scale: Whether each projection has a learnable factor, initially 1 (LAE).
            entries: Number of entries to which samples can be routed.

        Raises:
            UserError: If a target is unknown or the rank exceeds the width.
        """
        super().__init__()
        self._blocks, self.targets = tuple(blocks), tuple(targets.replace(" ", "").split("+"))
        factor = (alpha if alpha is not None else rank) / (math.sqrt(rank) if rank_stabilized else rank)
        self.parts = nn.ModuleDict()
        found = transformer_blocks(model)
        for number in self._blocks:
            for target in self.targets:
                inputs, outputs = _shape(found[number], target)
                _check_rank(rank, min(inputs, outputs))
                part = LowRank(inputs, outputs, rank * entries, factor, learn_scale, generator)
                self.parts[f"{number}_{target}"] = part

    def attach(self, model: nn.Module) -> None:
        """Attach to the projections."""
        found = transformer_blocks(model)
        for number in self._blocks:
            fused = {target: self._part(number, target) for target in self.targets if target in SLICES}
            if fused:
                self._handles.append(found[number].attn.qkv.register_forward_hook(self._fused_hook(fused)))
            for target in self.targets:
                if target not in SLICES:
                    hook = self._hook(self._part(number, target))
                    self._handles.append(_projection(found[number], target).register_forward_hook(hook))

    def _part(self, number: int, target: str) -> LowRank:
        part = self.parts[f"{number}_{target}"]
        assert isinstance(part, LowRank)
        return part

    def _hook(self, part: LowRank) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return output + part(inputs[0], self.route) if self.enabled else None

        return add

    def _fused_hook(self, parts: dict[str, LowRank]) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self.enabled:
                return None
            pieces = list(output.chunk(3, dim=-1))
            for target, part in parts.items():
                pieces[SLICES[target]] = pieces[SLICES[target]] + part(inputs[0], self.route)
            return torch.cat(pieces, dim=-1)

        return add

    def matrices(self) -> dict[str, Tensor]:
        """What is added to each weight, ``[outputs, inputs]`` by block and projection, such as ``0_q``."""
        parts = ((name, part) for name, part in self.parts.items() if isinstance(part, LowRank))
        return {name: part.delta().detach() for name, part in parts}

    def adapted_weights(self, model: nn.Module, gradients: bool = False) -> dict[str, Tensor]:
        """The network's weights ``[outputs, inputs]`` that it adapts, or their gradients, by name of the part."""
        found, thirds = transformer_blocks(model), projection_gradients if gradients else projection_weights
        named: dict[str, Any] = {}
        for number in self._blocks:
            for target in self.targets:
                weight = None if target in SLICES else _projection(found[number], target).weight
                whole = weight.grad if gradients and weight is not None else weight
                named[f"{number}_{target}"] = thirds(found[number].attn)[SLICES[target]] if weight is None else whole
        return named

    @torch.no_grad()
    def merge(self, model: nn.Module, sign: float = 1.0) -> None:
        """Add the low-rank matrices to the network's weights (with `sign` -1, subtract them again)."""
        self.add_to(model, {name: sign * matrix for name, matrix in self.matrices().items()})

    @torch.no_grad()
    def add_to(self, model: nn.Module, matrices: Mapping[str, Tensor]) -> None:
        """Add matrices to the weights of the projections, named as by `matrices`."""
        found = transformer_blocks(model)
        for number in self._blocks:
            for target in self.targets:
                matrix = matrices[f"{number}_{target}"]
                if target in SLICES:
                    projection_weights(found[number].attn)[SLICES[target]].add_(matrix)
                else:
                    _projection(found[number], target).weight.add_(matrix)

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Initialize again: A from new draws, B with zero, learned factors with one."""
        for part in self.parts.values():
            assert isinstance(part, LowRank)
            bound = 1 / math.sqrt(part.down.shape[1])
            part.down.copy_(torch.empty(part.down.shape).uniform_(-bound, bound, generator=generator))
            part.up.zero_()
            if part.scale is not None:
                part.scale.fill_(1.0)


def _check_rank(rank: int, width: int) -> None:
    if not 1 <= rank <= width:
        raise UserError(f"LoRA: rank is {rank}, but must be between 1 and {width}, the width")


def _projection(block: Any, target: str) -> nn.Linear:
    projection: nn.Linear = block.attn.proj if target == "proj" else getattr(block.mlp, target)
    return projection


def _shape(block: Any, target: str) -> tuple[int, int]:
    if target in SLICES:
        return block.attn.qkv.in_features, block.attn.qkv.out_features // 3
    if target not in TARGETS:
        raise did_you_mean("LoRA target", target, TARGETS)
    projection = _projection(block, target)
    if isinstance(projection, nn.ModuleList):
        raise UserError("LoRA: the backbone's MLPs are gated and have two first layers: leave fc1 out of targets")
    return projection.in_features, projection.out_features
