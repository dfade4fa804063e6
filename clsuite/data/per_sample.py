"""Different operations for the samples of a batch, each called once for all its samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clsuite.data.on_device import moved


def by_group(images: Tensor, groups: Tensor, apply: Callable[[int, Tensor, Tensor], Tensor]) -> Tensor:
    """Apply the operation of each group to its samples.

    Args:
        images: ``[B, C, H, W]``; not modified.
        groups: int64 ``[B]`` on the CPU, to avoid waiting for a GPU.
        apply: Maps a group, its images ``[G, C, H, W]`` and their indices ``[G]`` in the batch to new images.
    """
    order = groups.argsort(stable=True)
    names, sizes = torch.unique_consecutive(groups[order], return_counts=True)
    members = torch.split_with_sizes(moved(order, images.device), sizes.tolist())
    parts = [
        apply(group, images.index_select(0, index), index) for group, index in zip(names.tolist(), members, strict=True)
    ]
    return torch.cat(parts).index_select(0, moved(order.argsort(), images.device))
