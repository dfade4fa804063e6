"""Schedules: factors of the learning rate at each moment of a task's training. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clsuite.errors import UserError


@dataclass(frozen=True)
class Moment:
    """A moment in the training of a task.

    Attributes:
        step: Number of the optimizer step, from 0, without the warm-up.
        steps: Number of all optimizer steps of the task.
        epochs: Number of epochs of the task.
    """

    step: int
    steps: int
    epochs: int

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 0."""
        return self.step * self.epochs // max(1, self.steps)


Schedule = Callable[[Moment], float]
"""The factor of a learning rate at a moment."""


def constant(moment: Moment) -> float:
    """The rate does not change."""
    return 1.0


def cosine(moment: Moment) -> float:
    """The rate falls to zero over the steps, as half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * moment.step / max(1, moment.steps)))


def quarter_cosine(moment: Moment) -> float:
    """The rate falls near zero over the epochs, as a quarter cosine (InfLoRA's code): cos(99 pi e / 200 (E - 1))."""
    return math.cos(0.495 * math.pi * moment.epoch / max(1, moment.epochs - 1))


def one_cycle(moment: Moment) -> float:
    """The factor rises from 1/25 for 30 % of the steps, then falls to 4e-6, as cosines.

    This is `torch.optim.lr_scheduler.OneCycleLR` without a change of the momentum; the rate is the largest one.
    """
    first, last, peak = 1 / 25, 1 / 25e4, 0.3 * moment.steps - 1
    if moment.step <= peak:
        return _between(first, 1.0, moment.step / peak)
    return _between(1.0, last, (moment.step - peak) / max(1e-9, moment.steps - 1 - peak))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def multi_step(milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """Create a schedule that multiplies the rate by `gamma` at the beginning of each of the given epochs.

    Args:
        milestones: Epochs, from 0.
        gamma: The factor.

    Raises:
        UserError: If an epoch is negative.
    """
    if min(milestones, default=0) < 0:
        raise UserError(f"multi_step: milestones has {min(milestones)}, but epochs begin with 0")
    ordered = tuple(milestones)

    def schedule(moment: Moment) -> float:
        return float(gamma ** sum(moment.epoch >= one for one in ordered))

    return schedule


NAMED: Mapping[str, Schedule] = {
    "constant": constant,
    "cosine": cosine,
    "quarter_cosine": quarter_cosine,
    "one_cycle": one_cycle,
}
"""The named schedules of ``training.schedule``."""


def with_warmup(schedule: Schedule, warmup: int, steps: int, epochs: int) -> Callable[[int], float]:
    """Return the factor at each step of a task: a linear warm-up, then a schedule.

    Args:
        schedule: The schedule after the warm-up.
        warmup: Number of steps of the warm-up.
        steps: Number of steps of the task.
        epochs: Number of epochs of the task.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return schedule(Moment(step - warmup, steps - warmup, epochs))

    return factor
