"""Keeps track of the rows that went into running statistics, so that repeated images are not counted again."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class TakenRows:
    """The rows of a table that went into running statistics; each is used once, however often it occurs.

    Attributes:
        mask: bool ``[rows of the table]``; part of a checkpoint.
    """

    def __init__(self, rows: int = 0) -> None:
        """Create a mask for a number of rows, none of which has been used."""
        self.mask: Tensor = torch.zeros(rows, dtype=torch.bool)

    def new(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that occur for the first time, in order and without repetition; they count as used from now on."""
        first = rows[np.sort(np.unique(rows, return_index=True)[1])]
        fresh: NDArray[np.int64] = first[~self.mask.numpy()[first]]
        self.mask[torch.from_numpy(fresh)] = True
        return fresh

    def state_dict(self) -> dict[str, Any]:
        """The mask, for a checkpoint."""
        return {"mask": self.mask}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the mask."""
        self.mask = state["mask"]


def row_positions(table_rows: int, rows: NDArray[np.int64], device: torch.device | str = "cpu") -> Tensor:
    """The position of each row of a table in a selection of rows.

    Args:
        table_rows: Number of rows of the table.
        rows: The selection.
        device: Device of the result.

    Returns:
        int64 ``[table_rows]``: the position in `rows`, or -1 for rows that are not selected.
    """
    positions = torch.full((table_rows,), -1, device=device)
    positions[torch.from_numpy(rows).to(device)] = torch.arange(len(rows), device=device)
    return positions
