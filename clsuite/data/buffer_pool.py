"""Memory for batches on a CPU, reused as soon as nothing refers to the batch.

The system's allocator returns large blocks and maps them again for each batch, and each page is cleared when it is
first written to: at 224 px this takes longer than normalization.
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
"""Range of batch sizes in bytes for which memory is kept."""
ALIGNMENT = 64
Block = NDArray[np.uint8]


def _references(blocks: Sequence[Block], place: int) -> int:
    return sys.getrefcount(blocks[place])


UNUSED = _references([np.empty(0, np.uint8)], 0)


class BufferPool:
    """At most two blocks: that of the current batch, and that of the next one.

    A tensor made from an array keeps a reference to it, as do its views and the tensors saved for a backward pass. A
    block whose only reference is the one in this pool is therefore free.
    """

    def __init__(self) -> None:
        """Create an empty pool."""
        self._blocks: list[Block] = []

    def __reduce__(self) -> tuple[type[BufferPool], tuple[()]]:
        """A copy starts with an empty pool."""
        return BufferPool, ()

    def empty(self, shape: Sequence[int]) -> Tensor:
        """An uninitialized float32 tensor, like ``torch.empty``."""
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
