"""Experts that all tasks share, in every block of a network: a router of each task mixes a few of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clsuite.peft.adapter import Bottleneck
from clsuite.peft.adaptformer import AdaptFormer
from clsuite.peft.base import PET
from clsuite.peft.blocks import transformer_blocks
from clsuite.peft.route import Route

LEAST_NOISE = 0.01
"""Smallest standard deviation of a router's noise (Shazeer et al. 2017; the authors' code)."""


class RoutedExperts(nn.Module):
    """The experts and the routers of one block.

    Attributes:
        experts: Adapters that add nothing at first.
        routers: Of each task, a matrix ``[width, experts]``, initially zero.
        noises: Of each task, what the noise of its router depends on, ``[width, experts]``, initially zero.
        counts: How often each expert was chosen in training since `forget`, int64 ``[experts]``.
        task: The task whose router is used.
        noise: Source of the noise of a training pass.
    """

    counts: Tensor

    def __init__(
        self,
        width: int,
        experts: int,
        size: int,
        generator: torch.Generator,
        *,
        top: int = 2,
        scale: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        """Create the experts, and no router yet; see `ExpertMixture`."""
        super().__init__()
        activation = F.relu
        self.experts = nn.ModuleList(
            Bottleneck(width, size, generator, activation=activation, scale=scale, dropout=dropout)
            for _ in range(experts)
        )
        self.routers, self.noises = nn.ParameterList(), nn.ParameterList()
        self.register_buffer("counts", torch.zeros(experts, dtype=torch.int64))
        self._size, self._top = (width, experts), top
        self.task = 0
        self.noise: torch.Generator | None = None

    def add_router(self) -> None:
        """Add the router of another task; the earlier ones are trained no more."""
        for value in (*self.routers, *self.noises):
            value.requires_grad_(False)
        for values in (self.routers, self.noises):
            values.append(nn.Parameter(torch.zeros(self._size, device=self.counts.device)))

    def gates(self, first: Tensor) -> Tensor:
        """Weights ``[B, experts]`` of the experts by first tokens ``[B, width]``: rows of a few that sum to 1.

        They are computed in float32, and in training with the router's noise.
        """
        with torch.autocast(first.device.type, enabled=False):
            answers = first.float() @ self.routers[self.task]
            if self.training and self.noise is not None:
                deviation = F.softplus(first.float() @ self.noises[self.task]) + LEAST_NOISE
                drawn = torch.randn(answers.shape, generator=self.noise).to(answers.device)
                answers = answers + drawn * deviation
            best = answers.topk(self._top, dim=1)
            return torch.zeros_like(answers).scatter(1, best.indices, best.values.softmax(dim=1))

    def forward(self, tokens: Tensor, route: Route | None = None) -> Tensor:
        """What the experts add to tokens ``[B, N, width]``."""
        gates = self.gates(tokens[:, 0])
        chosen = gates.detach() > 0
        if self.training:
            self.counts += chosen.sum(dim=0)
        added = torch.zeros_like(tokens)
        for number in chosen.any(dim=0).nonzero().flatten().tolist():
            rows = chosen[:, number].nonzero().flatten()
            part = gates[rows, number, None, None] * self.experts[number](tokens[rows])
            added = added.index_add(0, rows, part.to(added.dtype))
        return added

    def forget(self) -> None:
        """Count from zero again."""
        self.counts.zero_()

    def most_used(self, number: int) -> list[int]:
        """The numbers of the experts that were chosen most often, in ascending order."""
        return sorted(self.counts.topk(number).indices.tolist())


class ExpertMixture(AdaptFormer):
    """Routed experts beside the MLP of every block, on the residual stream.

    Yu et al., "Boosting continual learning of vision-language models via mixture-of-experts adapters" (CVPR 2024).
    """

    def __init__(
        self,
        model: nn.Module,
        experts: int,
        size: int,
        generator: torch.Generator,
        *,
        top: int = 2,
        scale: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        """Create the experts of all blocks.

        Args:
            model: The network; it is not modified.
            experts: Number of experts of a block.
            size: Hidden units of an expert.
            generator: Source of the first values.
            top: Number of experts that act on a sample.
            scale: What an expert's output is multiplied with.
            dropout: Dropout probability of hidden units in training.
        """
        PET.__init__(self)
        found = transformer_blocks(model)
        self._blocks = tuple(range(len(found)))
        self.parts = nn.ModuleDict()
        for number in self._blocks:
            width = int(found[number].attn.qkv.in_features)
            given = {"top": top, "scale": scale, "dropout": dropout}
            self.parts[str(number)] = RoutedExperts(width, experts, size, generator, **given)  # type: ignore[arg-type]
        self._task = 0

    @property
    def blocks(self) -> list[RoutedExperts]:
        """The experts and routers of all blocks, in order."""
        return [part for part in self.parts.values() if isinstance(part, RoutedExperts)]

    @property
    def task(self) -> int:
        """The task whose routers are used."""
        return self._task

    @task.setter
    def task(self, number: int) -> None:
        self._task = number
        for block in self.blocks:
            block.task = number

    def switches(self) -> tuple[object, ...] | None:
        """What decides about its effect besides its parameters: the task too."""
        of_all = super().switches()
        return None if of_all is None else (*of_all, self._task)
