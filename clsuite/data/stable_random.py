"""Randomness that is the same on every machine and in every version."""

from __future__ import annotations

import hashlib

import numpy as np


def stable_random(seed: int, *purpose: str | int) -> np.random.RandomState:
    """A generator for one purpose of one seed.

    ``RandomState`` is used because NumPy has frozen its streams permanently, unlike those of ``Generator``.

    Args:
        seed: The run's or the scenario's seed.
        purpose: What the numbers are for; other purposes get independent streams.
    """
    return np.random.RandomState(derive_seed(seed, *purpose))


def derive_seed(seed: int, *purpose: str | int) -> int:
    """An independent 32-bit seed for one purpose of one seed."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
