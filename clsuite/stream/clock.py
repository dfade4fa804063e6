"""A clock that also counts the seconds that stored features took to compute in other runs.

The time that a run waits while another one computes features counts for these features, and is not counted twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from clsuite.learner.shared_features import Taken


@dataclass(frozen=True)
class Spent:
    """Elapsed time, and the cost of the stored features that were read in it.

    Attributes:
        seconds: Elapsed seconds.
        taken: Seconds that the stored features took to compute.
    """

    seconds: float = 0.0
    taken: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.taken + other.taken)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.seconds - other.seconds, self.taken - other.taken)


class Clock:
    """Measures the time of a run."""

    def __init__(self, taken: Taken) -> None:
        """Set the counter of the features that the run reads from the store."""
        self._taken = taken

    def now(self) -> Spent:
        """The time since an arbitrary moment; the difference of two is the time spent between them."""
        return Spent(time.perf_counter() - self._taken.waited, self._taken.seconds)
