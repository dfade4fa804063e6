"""The table of images: all samples of a data set as uint8 arrays, in memory or memory-mapped."""

from __future__ import annotations

import hashlib
import mmap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clsuite.data.class_names import ClassName, name_classes
from clsuite.private_api import memory_map

KEPT_BYTES = 128 * 2**20
"""Tables up to this size stay in memory once read."""


@dataclass(frozen=True)
class ImageTable:
    """All images of a data set at one size; a sample is a row.

    Attributes:
        images: uint8 ``[N, C, H, W]`` with one or three channels; may be memory-mapped.
        labels: int64 ``[N]``, indices into `classes`.
        domains: int64 ``[N]``, indices into `domain_names`.
        is_test: bool ``[N]``.
        digests: uint8 ``[N, 16]``, a hash of each sample's original content: its id on every machine.
        classes: Class names.
        domain_names: Domain names; one empty name if the data set has no domains.
        in_prompts: The classes' names in prompts, if the data set is known; use `class_names` to read them.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    domains: NDArray[np.int64]
    is_test: NDArray[np.bool_]
    digests: NDArray[np.uint8]
    classes: tuple[str, ...]
    domain_names: tuple[str, ...]
    in_prompts: tuple[ClassName, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def class_names(self) -> tuple[ClassName, ...]:
        """What prompts call each class."""
        return self.in_prompts or name_classes(self.classes)


def digest(content: bytes) -> NDArray[np.uint8]:
    """The 16-byte id of a sample from its original bytes."""
    return np.frombuffer(hashlib.sha256(content).digest()[:16], dtype=np.uint8)


def read_rows(
    images: NDArray[np.uint8], rows: NDArray[np.int64], out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Copy rows of a table's images.

    Every page that is read would stay in the resident memory of the process, eventually the whole table. The pages of a
    large table that is mapped read-only are therefore released after each call. They stay in the system's file cache as
    long as there is room, so that the next read of a row costs a page fault but no disk access.

    Args:
        images: uint8 ``[N, C, H, W]``, an array or a memory map.
        rows: int64 ``[B]``.
        out: uint8 ``[B, C, H, W]``: memory for the result; newly allocated by default.
    """
    copied = images[rows] if out is None else np.take(images, rows, axis=0, out=out, mode="clip")  # unbuffered
    mapped = memory_map(images)
    if mapped is not None and images.nbytes > KEPT_BYTES and not images.flags.writeable:
        mapped.madvise(mmap.MADV_DONTNEED)
    return copied
