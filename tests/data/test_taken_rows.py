"""Rows that come again are told from those that come for the first time."""

from __future__ import annotations

import numpy as np
import torch

from clsuite.data.taken import TakenRows


def test_each_row_is_new_once_and_in_its_order() -> None:
    taken = TakenRows(6)
    assert taken.new(np.array([4, 1, 4, 2])).tolist() == [4, 1, 2]
    assert taken.new(np.array([2, 5, 1])).tolist() == [5]
    assert taken.new(np.array([5, 4])).tolist() == []
    assert taken.mask.tolist() == [False, True, True, False, True, True]
    again = TakenRows()
    again.mask = torch.tensor([False, True, False])
    assert again.new(np.array([0, 1])).tolist() == [0]
