"""Low-rank adaptation cut into experts, which a router of each projection mixes token by token (MoE-LoRA)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clsuite.errors import UserError
from clsuite.peft.lora import LoRA, LowRank
from clsuite.peft.route import MixedRoute, Route


@dataclass(frozen=True)
class TokenRoute(MixedRoute):
    """Entries that act on each token to a share of its own; the shares are ``[B, N, entries]``."""

    def gate(self, hidden: Tensor) -> Tensor:
        """``[B, N, entries * size]``, each entry's part times its share."""
        size = hidden.shape[-1] // self.entries
        return hidden * self.shares.repeat_interleave(size, dim=-1).to(hidden.dtype)


class ExpertLowRank(LowRank):
    """A low-rank matrix whose rows of A, and columns of B, are divided among experts, and a router.

    Attributes:
        router: ``[experts, inputs]``; the softmax of its products with a token are the experts' shares.
    """

    def __init__(self, of: LowRank, experts: int, generator: torch.Generator) -> None:
        """Take the factors of a matrix without experts, and draw a router as PyTorch draws a linear layer."""
        nn.Module.__init__(self)
        self.down, self.up, self.factor, self.scale = of.down, of.up, of.factor, of.scale
        inputs = of.down.shape[1]
        bound = 1 / math.sqrt(inputs)
        self.router = nn.Parameter(torch.empty(experts, inputs).uniform_(-bound, bound, generator=generator))

    def shares(self, inputs: Tensor) -> Tensor:
        """The experts' shares ``[..., experts]`` of tokens ``[..., inputs]``; they sum to 1."""
        with torch.autocast(inputs.device.type, enabled=False):
            return nn.functional.linear(inputs.float(), self.router).softmax(dim=-1)

    def forward(self, inputs: Tensor, route: Route | None = None) -> Tensor:
        """Map tokens ``[..., inputs]`` to ``[..., outputs]``."""
        shares = self.shares(inputs)
        nobody = torch.zeros(len(inputs), 0, dtype=torch.int64, device=inputs.device)
        return super().forward(inputs, TokenRoute(nobody, shares.shape[-1], shares))


class ExpertLoRA(LoRA):
    """A LoRA of experts: ``W x + alpha/rank sum_e g_e(x) B_e A_e x`` with dense shares ``g = softmax(router x)``.

    Chen et al., "CoIN: a benchmark of continual instruction tuning for multimodal large language models" (2024). All
    experts of a projection together have the rank of one LoRA, and with one expert they are it.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[int],
        rank: int,
        generator: torch.Generator,
        *,
        experts: int = 4,
        alpha: float | None = None,
        targets: str = "q+v",
    ) -> None:
        """Create factors and routers; the factors are drawn first, as those of `LoRA`.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            rank: Rank of all experts of a projection together.
            generator: Source of the initial values of A and of the routers.
            experts: Their number, a divisor of the rank.
            alpha: Numerator of the factor; the rank by default (factor 1).
            targets: Some of ``q``, ``k``, ``v``, ``proj``, ``fc1`` and ``fc2``, joined by ``+``.

        Raises:
            UserError: If a target is unknown, the rank exceeds the width, or the experts do not divide it.
        """
        if experts < 1 or rank % experts:
            raise UserError(f"LoRA of experts: rank {rank} cannot be divided among {experts} experts")
        super().__init__(model, blocks, rank, generator, alpha=alpha, targets=targets)
        for name, part in self.parts.items():
            assert isinstance(part, LowRank)
            self.parts[name] = ExpertLowRank(part, experts, generator)

    def merge(self, model: nn.Module, sign: float = 1.0) -> None:
        """Refuse: what it adds depends on the token.

        Raises:
            UserError: In any case.
        """
        raise UserError("LoRA of experts: what it adds depends on the token and cannot be merged into the weights")
