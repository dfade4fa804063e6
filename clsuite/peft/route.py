"""Which entries of a pool each sample of a batch is given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Route:
    """The choice of a batch.

    A module with several entries keeps them side by side in one larger module. Those that a sample is given act on it
    together, as one module of their joint size; the others do not act on it at all.

    Attributes:
        chosen: int64 ``[B, k]``: the entries that each sample is given, no entry twice.
        entries: Number of entries to choose from.
    """

    chosen: Tensor
    entries: int

    def weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """``[B, entries]``: 1 for the entries that a sample is given, else 0."""
        return F.one_hot(self.chosen, self.entries).sum(dim=1).to(dtype)

    def gate(self, hidden: Tensor) -> Tensor:
        """``[B, ..., entries * size]`` of which only what belongs to a sample's entries is left."""
        kept = self.weights(hidden.dtype).repeat_interleave(hidden.shape[-1] // self.entries, dim=1)
        return hidden * kept.view(len(kept), *[1] * (hidden.dim() - 2), -1)

    def gather(self, rows: Tensor) -> Tensor:
        """From ``[entries * length, width]`` the rows of each sample's entries, ``[B, k * length, width]``."""
        return rows.view(self.entries, -1, rows.shape[-1])[self.chosen].flatten(1, 2)
