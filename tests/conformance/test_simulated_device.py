"""Arguments of operations: nested lists, tuples and dictionaries, taken apart as PyTorch does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils import _pytree

from clsuite.conformance.simulated_device import flat_leaves, map_leaves

TREES: list[Any] = [
    1, None, (), [], {}, "a word", ([1, (2, 3)], {"a": 4, "b": [5, {"c": 6}]}), [[], ((),), {"a": ()}],
    (torch.float32, torch.device("cpu"), slice(1, 2)),
]  # fmt: skip


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_leaves_are_those_of_pytorch(tree: Any) -> None:
    assert [*flat_leaves(tree)] == [one for one in _pytree.tree_leaves(tree, is_leaf=lambda one: one is None)]
    marked, expected = (change(lambda one: ("leaf", one), tree) for change in (map_leaves, _pytree.tree_map))
    assert marked == expected
    assert type(marked) is type(expected)
