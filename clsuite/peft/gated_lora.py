"""Low-rank adaptation whose matrices are switched on and off by learned numbers (Selective LoRA)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clsuite.peft.lora import LoRA, LowRank
from clsuite.peft.route import Route


class GatedLowRank(LowRank):
    """A low-rank matrix that acts while its gate is at least a threshold.

    Attributes:
        gate: The learned number.
    """

    def __init__(self, of: LowRank, gate: float, threshold: float) -> None:
        """Take the factors of a matrix without a gate.

        Args:
            of: That matrix.
            gate: First value of the gate.
            threshold: From which on the matrix acts.
        """
        nn.Module.__init__(self)
        self.down, self.up, self.factor, self.scale = of.down, of.up, of.factor, of.scale
        self.gate = nn.Parameter(torch.tensor(float(gate)))
        self._threshold = threshold

    @property
    def is_open(self) -> Tensor:
        """1 where the gate is at least the threshold, otherwise 0; backward the identity (straight-through)."""
        passes = (self.gate >= self._threshold).to(self.gate.dtype)
        return passes + (self.gate - self.gate.detach())

    def forward(self, inputs: Tensor, route: Route | None = None) -> Tensor:
        """Map ``[..., inputs]`` to ``[..., outputs]``; to zero while the gate is closed."""
        return self.is_open * super().forward(inputs, route)

    def delta(self) -> Tensor:
        """The matrix ``[outputs, inputs]`` that is added to the weight; zero while the gate is closed."""
        return self.is_open * super().delta()


class GatedLoRA(LoRA):
    """A LoRA with a gate for each projection of each block.

    Bafghi et al., "Fine tuning without catastrophic forgetting via selective low rank adaptation" (2025), by the
    indicator of Wallingford et al., "Task adaptive parameter sharing for multi-task learning" (CVPR 2022).
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Sequence[int],
        rank: int,
        generator: torch.Generator,
        *,
        alpha: float | None = None,
        targets: str = "q+v",
        gate: float = 0.15,
        threshold: float = 0.1,
    ) -> None:
        """Create factors and gates; the factors are drawn as those of `LoRA`.

        Args:
            model: The network; it is not modified.
            blocks: Numbers of the blocks.
            rank: Rank of the added matrices.
            generator: Source of the initial values of A.
            alpha: Numerator of the factor; the rank by default (factor 1).
            targets: Some of ``q``, ``k``, ``v``, ``proj``, ``fc1`` and ``fc2``, joined by ``+``.
            gate: First value of the gates.
            threshold: From which on a matrix acts.

        Raises:
            UserError: If a target is unknown or the rank exceeds the width.
        """
        super().__init__(model, blocks, rank, generator, alpha=alpha, targets=targets)
        self._first = gate
        for name, part in self.parts.items():
            assert isinstance(part, LowRank)
            self.parts[name] = GatedLowRank(part, gate, threshold)

    @property
    def gates(self) -> list[nn.Parameter]:
        """All gates, block after block."""
        return [part.gate for part in self.parts.values() if isinstance(part, GatedLowRank)]

    def share_open(self) -> Tensor:
        """Share of the matrices that act, a scalar without gradient."""
        return torch.stack(
            [part.is_open.detach() for part in self.parts.values() if isinstance(part, GatedLowRank)]
        ).mean()

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Initialize again, gates included."""
        super().reset(generator)
        for gate in self.gates:
            gate.fill_(self._first)
