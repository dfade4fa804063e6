"""Measures one contestant: seconds by the wall clock and the growth of resident memory."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import psutil
import torch


@dataclass(frozen=True)
class Learned:
    """What a contestant says about itself.

    Attributes:
        training: Seconds of training, summed over the tasks.
        evaluation: Seconds of the evaluations that follow a task, summed.
        steps: Optimizer steps.
        evaluated: Images that passed through the network in evaluations.
        accuracy: Share of all test images of the stream that the final model gets right.
    """

    training: float
    evaluation: float
    steps: int
    evaluated: int
    accuracy: float


@dataclass(frozen=True)
class Outcome(Learned):
    """With what is measured from outside.

    Attributes:
        name: The contestant.
        total: Seconds from the first task's start to the last evaluation's end.
        peak_bytes: Largest resident memory while it ran, less that before it.
    """

    name: str
    total: float
    peak_bytes: int


class PeakMemory:
    """Samples the resident memory of this process in a thread, 50 times a second."""

    def __init__(self, interval: float = 0.02) -> None:
        """Set up; nothing is sampled yet."""
        self._interval, self._process = interval, psutil.Process()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.before = self.peak = 0

    def __enter__(self) -> PeakMemory:
        """Begin."""
        self.before = self.peak = self._now()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the last sample."""
        self._stopped.set()
        self._thread.join()
        self.peak = max(self.peak, self._now())

    @property
    def growth(self) -> int:
        """Bytes of the peak above the start."""
        return self.peak - self.before

    def _now(self) -> int:
        return int(self._process.memory_info().rss)

    def _sample(self) -> None:
        while not self._stopped.wait(self._interval):
            self.peak = max(self.peak, self._now())


def measure(name: str, prepare: Callable[[], Callable[[], Learned]]) -> Outcome:
    """Run one contestant from a clean start.

    Args:
        name: The contestant.
        prepare: Builds models and data sets, and returns the function that learns the stream: only that is timed, the
            memory of both counts.
    """
    _clean_up()
    with PeakMemory() as memory:
        learn = prepare()
        started = time.perf_counter()
        learned = learn()
        total = time.perf_counter() - started
    return Outcome(**vars(learned), name=name, total=total, peak_bytes=memory.growth)


def _clean_up() -> None:
    """Undo the global settings of the contestant before, and give its freed memory back to the system."""
    torch.use_deterministic_algorithms(False)
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
