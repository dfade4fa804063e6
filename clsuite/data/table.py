"""The table of images: all samples of a data set as uint8 arrays, in memory or memory-mapped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageTable:
    """All images of a data set at one size; a sample is a row.

    Attributes:
        images: uint8 ``[N, C, H, W]`` with one or three channels; may be memory-mapped.
        labels: int64 ``[N]``, indices into `classes`.
        domains: int64 ``[N]``, indices into `domain_names`.
        is_test: bool ``[N]``.
        digests: uint8 ``[N, 16]``, a hash of each sample's original content: the sample's id on every machine.
        classes: Class names.
        domain_names: Domain names; one empty name where the data set has no domains.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    domains: NDArray[np.int64]
    is_test: NDArray[np.bool_]
    digests: NDArray[np.uint8]
    classes: tuple[str, ...]
    domain_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def digest(content: bytes) -> NDArray[np.uint8]:
    """The 16-byte id of a sample from its original bytes."""
    return np.frombuffer(hashlib.sha256(content).digest()[:16], dtype=np.uint8)
