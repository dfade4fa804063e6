"""Which rows of a table have been taken in, so that an image that comes again does not count again."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class TakenRows:
    """Remembers the rows of a table that went into running statistics; each goes in once, however often it comes.

    Attributes:
        mask: bool ``[rows of the table]``; what must survive an interruption.
    """

    def __init__(self, rows: int = 0) -> None:
        """None has been taken yet, of so many."""
        self.mask: Tensor = torch.zeros(rows, dtype=torch.bool)

    def new(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some rows that come for the first time, in their order and each once; now they are taken."""
        first = rows[np.sort(np.unique(rows, return_index=True)[1])]
        fresh: NDArray[np.int64] = first[~self.mask.numpy()[first]]
        self.mask[torch.from_numpy(fresh)] = True
        return fresh
