"""Random numbers that are the same on all machines and in all versions."""

from __future__ import annotations

import hashlib

import numpy as np


def stable_random(seed: int, *purpose: str | int) -> np.random.RandomState:
    """A generator for one purpose of a seed.

    ``RandomState`` is used because NumPy guarantees that its streams never change, unlike those of ``Generator``.

    Args:
        seed: The run's or the scenario's seed.
        purpose: What the numbers are for; different purposes get independent streams.
    """
    return np.random.RandomState(derive_seed(seed, *purpose))


def derive_seed(seed: int, *purpose: str | int) -> int:
    """An independent 32-bit seed for one purpose of a seed."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
