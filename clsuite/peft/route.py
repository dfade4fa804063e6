"""Which entries of a pool are used for each sample of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Route:
    """The selection of entries for a batch.

    A module with several entries stores them concatenated in one larger module. The entries selected for a sample act
    on it together, like one module of their joint size; the others do not act on it.

    Attributes:
        chosen: int64 ``[B, k]``: the entries selected for each sample, without repetition.
        entries: Number of entries in the pool.
    """

    chosen: Tensor
    entries: int

    def weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """``[B, entries]``: 1 for the entries selected for a sample, otherwise 0.

        By comparison, as gradients of single samples (``torch.func.vmap``) cannot pass through ``F.one_hot``.
        """
        entries = torch.arange(self.entries, device=self.chosen.device)
        return (self.chosen.unsqueeze(-1) == entries).any(dim=1).to(dtype)

    def gate(self, hidden: Tensor) -> Tensor:
        """``[B, ..., entries * size]`` with zeros for entries that are not selected for the sample."""
        kept = self.weights(hidden.dtype).repeat_interleave(hidden.shape[-1] // self.entries, dim=1)
        return hidden * kept.view(len(kept), *[1] * (hidden.dim() - 2), -1)

    def gather(self, rows: Tensor) -> Tensor:
        """From ``[entries * length, width]`` the rows of each sample's entries, ``[B, k * length, width]``."""
        return rows.view(self.entries, -1, rows.shape[-1])[self.chosen].flatten(1, 2)


@dataclass(frozen=True)
class MixedRoute(Route):
    """Entries that act on each sample to a share, as the sum of several modules with factors.

    Of low-rank matrices this is the sum of their products, each with its share.

    Attributes:
        shares: ``[B, entries]``: the factor of each entry's output, for each sample.
    """

    shares: Tensor

    @classmethod
    def of(cls, shares: Tensor) -> MixedRoute:
        """The route of some shares ``[B, entries]``."""
        return cls(torch.zeros(len(shares), 0, dtype=torch.int64, device=shares.device), shares.shape[1], shares)

    def weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """``[B, entries]``: the shares."""
        return self.shares.to(dtype)
