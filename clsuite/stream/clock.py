"""A clock that counts beside the seconds here those that features from the store had cost where they were computed.

Time in which a run waits for another one that computes features for it counts as theirs and not twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from clsuite.learner.shared_features import Taken


@dataclass(frozen=True)
class Spent:
    """Seconds that passed, and seconds that features had cost which were taken from the store meanwhile."""

    seconds: float = 0.0
    taken: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.taken + other.taken)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.seconds - other.seconds, self.taken - other.taken)


class Clock:
    """Tells the time of a run."""

    def __init__(self, taken: Taken) -> None:
        """Count what a run takes from the store."""
        self._taken = taken

    def now(self) -> Spent:
        """The time since some moment; a difference of two is what was spent between."""
        return Spent(time.perf_counter() - self._taken.waited, self._taken.seconds)
