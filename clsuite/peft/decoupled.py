"""Low-rank adaptation by directions that are fixed one after another, and magnitudes that stay trainable (SD-LoRA)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clsuite.errors import UserError
from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks

PLACES = {"q": 0, "k": 1, "v": 2}
DirectionNorm = Literal["product", "paper"]
"""What a finished ``B A`` is divided by: the product of the norms of B and A, or the norm of ``B A``."""
DirectionScope = Literal["projection", "all"]
"""Of what it is the norm: of each projection by itself, or the root of the mean square over all of them."""


class Directions(nn.Module):
    """The pairs of one projection, and what those that are finished are divided by.

    Attributes:
        norms: Divisors by pair; 0 of one that is not finished.
    """

    def __init__(self, width: int) -> None:
        """Have no pair yet."""
        super().__init__()
        self.width = width
        self.downs, self.ups = nn.ParameterList(), nn.ParameterList()
        self.norms: Tensor
        self.register_buffer("norms", torch.zeros(0))

    def add(self, rank: int, generator: torch.Generator) -> None:
        """Begin a pair: A ``[rank, width]`` Kaiming uniform, B ``[width, rank]`` zero; the earlier ones rest."""
        device, bound = self.norms.device, 1 / math.sqrt(self.width)
        for values in (*self.downs, *self.ups):
            values.requires_grad_(False)
        down = torch.empty(rank, self.width).uniform_(-bound, bound, generator=generator)
        self.downs.append(nn.Parameter(down.to(device)))
        self.ups.append(nn.Parameter(torch.zeros(self.width, rank, device=device)))
        self.norms = torch.cat([self.norms, torch.zeros(1, device=device)])

    def norm(self, place: int, kind: DirectionNorm) -> Tensor:
        """The norm of a pair."""
        down, up = self.downs[place].detach(), self.ups[place].detach()
        norm: Tensor = (up @ down).norm() if kind == "paper" else up.norm() * down.norm()
        return norm

    @property
    def divisors(self) -> Tensor:
        """What the pairs are divided by now: 1 where one is not finished."""
        return torch.where(self.norms > 0, self.norms, 1.0)

    def direction(self, place: int) -> Tensor:
        """``B A`` of a pair, divided by its norm once it is finished: ``[width, width]``."""
        matrix: Tensor = self.ups[place] @ self.downs[place] / self.divisors[place]
        return matrix

    def forward(self, inputs: Tensor, magnitudes: Tensor) -> Tensor:
        """The sum of all directions, each times its magnitude, of ``[..., width]``."""
        ranks = [len(down) for down in self.downs]
        shares = (magnitudes / self.divisors).unbind()
        factors = torch.cat([share.expand(rank) for share, rank in zip(shares, ranks, strict=True)])
        hidden = nn.functional.linear(inputs, torch.cat([*self.downs]))
        return nn.functional.linear(hidden * factors, torch.cat([*self.ups], dim=1))


class DecoupledLoRA(PET):
    """Adds to projections of each block a sum of low-rank directions, with one magnitude for each of them.

    Wu et al., "SD-LoRA: scalable decoupled low-rank adaptation for class incremental learning" (ICLR 2025):
    ``W x + sum_i s_i B_i A_i x``, where all ``B_i A_i`` but the last are divided by a norm and fixed. A magnitude is
    shared by all projections of all blocks.

    Attributes:
        parts: `Directions` by block and projection, such as ``0_q``.
        magnitudes: One scalar for each pair.
    """

    role = "lora"

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[int],
        *,
        targets: str = "q+v",
        norm: DirectionNorm = "product",
        scope: DirectionScope = "projection",
    ) -> None:
        """Have no pair yet.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            targets: Some of ``q``, ``k`` and ``v``, joined by ``+``.
            norm: What a finished pair is divided by.
            scope: Whether each projection has a norm of its own.

        Raises:
            UserError: If a target is unknown.
        """
        super().__init__()
        self._blocks, self.targets = tuple(blocks), tuple(targets.replace(" ", "").split("+"))
        self._norm: DirectionNorm = norm
        self._scope: DirectionScope = scope
        if unknown := [target for target in self.targets if target not in PLACES]:
            raise UserError(f"targets has '{unknown[0]}': write some of q, k and v, joined by +")
        self._width = transformer_blocks(model)[0].attn.qkv.in_features
        names = [f"{number}_{target}" for number in self._blocks for target in self.targets]
        self.parts = nn.ModuleDict({name: Directions(self._width) for name in names})
        self.magnitudes = nn.ParameterList()

    @property
    def directions(self) -> list[Directions]:
        """All projections' directions."""
        return [part for part in self.parts.values() if isinstance(part, Directions)]

    @torch.no_grad()
    def add(self, rank: int, magnitude: float, generator: torch.Generator) -> Tensor:
        """Finish the pairs that there are, and begin others in all projections.

        Args:
            rank: Of the new ones.
            magnitude: Their first magnitude.
            generator: Source of the first values of A.

        Returns:
            What finished the last pair, of each projection: divided by it, it needs a magnitude times as large.

        Raises:
            UserError: If the rank does not fit the width.
        """
        self.check_rank(rank)
        norms = self._finish()
        for part in self.directions:
            part.add(rank, generator)
        self.magnitudes.append(nn.Parameter(torch.tensor(float(magnitude), device=self.directions[0].norms.device)))
        return norms

    def check_rank(self, rank: int) -> None:
        """Refuse a rank of pairs that does not fit the width.

        Raises:
            UserError: If it is below 1 or above the width.
        """
        if not 1 <= rank <= self._width:
            raise UserError(f"rank is {rank}, but must be between 1 and {self._width}, the width")

    def _finish(self) -> Tensor:
        """Divide the last pairs by their norms, which are returned; 1 where there is none, or it is finished."""
        parts = self.directions
        if not len(self.magnitudes) or float(parts[0].norms[-1]) > 0:
            return torch.ones(len(parts))
        norms = torch.stack([part.norm(-1, self._norm) for part in parts])
        if self._scope == "all":
            norms = norms.square().mean().sqrt().expand(len(norms))
        norms = torch.where(norms > 0, norms, 1.0)
        for part, norm in zip(parts, norms, strict=True):
            part.norms[-1] = norm
        return norms

    def drop_last(self) -> None:
        """Take the last pair out of all projections."""
        for part in self.directions:
            part.downs, part.ups = nn.ParameterList([*part.downs][:-1]), nn.ParameterList([*part.ups][:-1])
            part.norms = part.norms[:-1]
        self.magnitudes = nn.ParameterList([*self.magnitudes][:-1])

    @torch.no_grad()
    def fit_of_last(self) -> tuple[Tensor, float]:
        """The last pair as a sum of the finished ones, by least squares over all projections.

        Returns:
            The coefficients of the finished directions, and the share of the squared norm that they leave.
        """
        number = len(self.magnitudes)
        dot = torch.zeros(number, number, dtype=torch.float64)
        for part in self.directions:
            downs, ups = ([values.double().cpu() for values in kept] for kept in (part.downs, part.ups))
            norms = part.divisors.double().cpu()
            for one in range(number):
                for other in range(one + 1):
                    same = ((ups[one].T @ ups[other]) * (downs[one] @ downs[other].T)).sum()
                    dot[one, other] += same / (norms[one] * norms[other])
        dot = dot + dot.tril(-1).T
        fit = torch.linalg.lstsq(dot[:-1, :-1], dot[:-1, -1:], driver="gelsd").solution[:, 0]
        left = dot[-1, -1] - fit @ dot[:-1, -1]
        return fit.float(), float(left / dot[-1, -1].clamp_min(1e-30))

    def attach(self, model: nn.Module) -> None:
        """Attach to the projections."""
        found = transformer_blocks(model)
        for number in self._blocks:
            parts = {target: self.parts[f"{number}_{target}"] for target in self.targets}
            self._handles.append(found[number].attn.qkv.register_forward_hook(self._hook(parts)))

    def _hook(self, parts: dict[str, nn.Module]) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self.enabled or not len(self.magnitudes):
                return None
            pieces, magnitudes = list(output.chunk(3, dim=-1)), torch.stack([*self.magnitudes])
            for target, part in parts.items():
                pieces[PLACES[target]] = pieces[PLACES[target]] + part(inputs[0], magnitudes)
            return torch.cat(pieces, dim=-1)

        return add
