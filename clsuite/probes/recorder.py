"""Stores the readings of the probes of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from clsuite.learner.learner import Learner
from clsuite.probes.base import Measure, Reading
from clsuite.records import ProbeEntry


class ProbeRecorder:
    """Reads the probes at each evaluation without affecting the training."""

    def __init__(self, probes: Sequence[Measure] = (), at_ends: Sequence[bool] = ()) -> None:
        """Store the probes; nothing is read yet.

        Args:
            probes: The probes.
            at_ends: For each probe, whether it is read only before the stream and after the last task.
        """
        self._probes, self._at_ends = probes, at_ends or [False] * len(probes)
        self._readings: dict[str, list[Reading]] = {}
        self._names: list[list[str]] = [[] for _ in probes]

    def read(self, learner: Learner, row: int, last: bool) -> None:
        """Read all probes that are due; the state of random generators is restored afterwards.

        Args:
            learner: The current learner.
            row: 0 before the stream, ``t`` after ``t`` tasks.
            last: Whether this is the last evaluation.
        """
        with torch.random.fork_rng(enabled=bool(self._probes)):
            for probe, at_ends, names in zip(self._probes, self._at_ends, self._names, strict=True):
                if at_ends and row and not last:
                    for name in names:
                        self._readings[name].append(self._readings[name][0].missing())
                    continue
                readings = probe(learner)
                names[:] = readings
                for name, reading in readings.items():
                    self._readings.setdefault(name, []).append(reading)

    def entries(self) -> list[ProbeEntry]:
        """The readings in the form that records store."""
        return [
            ProbeEntry(
                name=name,
                higher_is_better=readings[0].higher_is_better,
                values=[reading.value for reading in readings],
                correct=_counts(readings),
                n=next((reading.n for reading in readings if reading.n), None),
            )
            for name, readings in self._readings.items()
        ]

    def state_dict(self) -> dict[str, Any]:
        """The readings so far and the references for later ones, for a checkpoint."""
        readings = {name: [vars(reading) for reading in kept] for name, kept in self._readings.items()}
        before = [getattr(probe, "before", None) for probe in self._probes]
        return {"readings": readings, "probes": before, "names": self._names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the readings."""
        self._readings = {name: [Reading(**kept) for kept in rows] for name, rows in state["readings"].items()}
        self._names = [list(names) for names in state["names"]]
        for probe, before in zip(self._probes, state["probes"], strict=True):
            if before is not None:
                probe.before = before  # type: ignore[attr-defined]


def _counts(readings: Sequence[Reading]) -> list[int | None] | None:
    """Number of correct predictions of each reading; None if no reading has any."""
    counts = [reading.correct for reading in readings]
    return counts if any(count is not None for count in counts) else None
