"""What is decided about a benchmark beside its file, on the command line or from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsuite.records.curves import POINTS


@dataclass(frozen=True)
class RunOptions:
    """What the command line decides about a benchmark.

    Attributes:
        out: Folder for everything that is written.
        data_root: Where relative data paths are looked for.
        methods: Methods to run instead of the benchmark's.
        seeds: Seeds to run instead of the benchmark's.
        training: Overrides of the benchmark's training, such as ``{"epochs": 1}``.
        limit_tasks: Only the first tasks of the stream, in place of the benchmark's.
        device: ``auto``, ``cpu``, ``cuda``, ...
        save_model: Keep the trained model beside the record.
        eval_every: Evaluate within tasks after each so many steps, whatever the benchmark says.
        on_validation: Judge by the validation parts, and leave the test parts out altogether.
        curve_points: Points of the curves of training that are kept for each task; they are no part of a run's key.
    """

    out: Path
    data_root: Path | None = None
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()
    training: Mapping[str, Any] | None = None
    limit_tasks: int | None = None
    device: str = "auto"
    save_model: bool = False
    eval_every: int | None = None
    on_validation: bool = False
    curve_points: int = POINTS
