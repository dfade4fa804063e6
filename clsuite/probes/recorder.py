"""Keeps what the probes of a run read, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from clsuite.learner.learner import Learner
from clsuite.probes.base import Measure, Reading
from clsuite.records import ProbeEntry


class ProbeRecorder:
    """Reads all probes at each evaluation; training is as it would be without them."""

    def __init__(self, probes: Sequence[Measure] = ()) -> None:
        """Keep the probes; nothing is read yet."""
        self._probes = probes
        self._readings: dict[str, list[Reading]] = {}

    def read(self, learner: Learner) -> None:
        """Read every probe; random numbers that a method draws in an evaluation are given back."""
        with torch.random.fork_rng(enabled=bool(self._probes)):
            for probe in self._probes:
                for name, reading in probe(learner).items():
                    self._readings.setdefault(name, []).append(reading)

    def entries(self) -> list[ProbeEntry]:
        """The readings as a record holds them."""
        return [
            ProbeEntry(
                name=name,
                higher_is_better=readings[0].higher_is_better,
                values=[reading.value for reading in readings],
                correct=None if readings[0].correct is None else [reading.correct or 0 for reading in readings],
                n=readings[0].n,
            )
            for name, readings in self._readings.items()
        ]

    def state_dict(self) -> dict[str, Any]:
        """The readings so far, and what later ones are compared with."""
        readings = {name: [vars(reading) for reading in kept] for name, kept in self._readings.items()}
        return {"readings": readings, "probes": [getattr(probe, "before", None) for probe in self._probes]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the readings back."""
        self._readings = {name: [Reading(**kept) for kept in rows] for name, rows in state["readings"].items()}
        for probe, before in zip(self._probes, state["probes"], strict=True):
            if before is not None:
                probe.before = before  # type: ignore[attr-defined]
