"""Memory of batches on a CPU that is used again as soon as nobody holds the batch.

The system's allocator gives large blocks back and maps them again for each batch, and each page of them is cleared when
it is first written to: at 224 px that takes longer than normalizing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsuite.config.fast_paths import fast_paths

SMALLEST, LARGEST = 4 << 20, 64 << 20
"""Bytes of a batch from which on, and up to which, its memory is kept."""
ALIGNMENT = 64
Block = NDArray[np.uint8]


def _references(blocks: Sequence[Block], place: int) -> int:
    return sys.getrefcount(blocks[place])


UNUSED = _references([np.empty(0, np.uint8)], 0)


class BufferPool:
    """At most two blocks: that of the batch in work, and that of the one being made.

    A tensor made of an array keeps a reference to it, as do its views, and what was saved of it for a backward pass.
    So a block whose only reference is the one here is in nobody's hands.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._blocks: list[Block] = []

    def __reduce__(self) -> tuple[type[BufferPool], tuple[()]]:
        """A copy has memory of its own."""
        return BufferPool, ()

    def empty(self, shape: Sequence[int]) -> Tensor:
        """A float32 tensor with whatever values, as of ``torch.empty``."""
        size = 4 * math.prod(shape)
        if not SMALLEST <= size <= LARGEST or not fast_paths():
            return torch.empty(*shape)
        block = self._find(size + ALIGNMENT)
        start = -block.ctypes.data % ALIGNMENT
        return torch.from_numpy(block[start : start + size].view(np.float32)).view(*shape)

    def _find(self, size: int) -> Block:
        unused = [place for place in range(len(self._blocks)) if _references(self._blocks, place) == UNUSED]
        for place in unused:
            if len(self._blocks[place]) >= size:
                return self._blocks[place]
        if unused:  # too small: make room
            del self._blocks[unused[0]]
        block = np.empty(size, np.uint8)
        if len(self._blocks) < 2:
            self._blocks.append(block)
        return block
