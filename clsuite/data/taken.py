"""Which rows of a table have been taken in, so that an image that comes again does not count again."""

from __future__ import annotations

from typing import Any

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

    def state_dict(self) -> dict[str, Any]:
        """The mask."""
        return {"mask": self.mask}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the mask back."""
        self.mask = state["mask"]


def row_positions(table_rows: int, rows: NDArray[np.int64], device: torch.device | str = "cpu") -> Tensor:
    """Where each row of a table comes among some rows.

    Args:
        table_rows: Number of rows of the table.
        rows: Some of them.
        device: Where the answer is needed.

    Returns:
        int64 ``[table_rows]``: the position among `rows`, -1 for those that are not there.
    """
    positions = torch.full((table_rows,), -1, device=device)
    positions[torch.from_numpy(rows).to(device)] = torch.arange(len(rows), device=device)
    return positions
