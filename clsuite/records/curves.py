"""Training curves, such as the loss over the steps, in the file with the predictions of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsuite.records.store import CURVE_ARRAYS, RecordError, read_arrays

LOSS = "loss"


@dataclass(frozen=True)
class TrainingCurve:
    """One value over the steps of training, reduced by averaging.

    Attributes:
        task: Task of each point, from 0, ``[P]``.
        step: Last step of the task that a point averages over, starting after the previous point, ``[P]``.
        value: The averages, ``[P]``.
    """

    task: NDArray[np.integer]
    step: NDArray[np.integer]
    value: NDArray[np.floating]


def curve_arrays(curves: Mapping[str, TrainingCurve]) -> dict[str, NDArray[Any]]:
    """Curves as arrays for `write_predictions`; empty if there are no points."""
    if not any(len(curve.value) for curve in curves.values()):
        return {}
    names = [*curves]
    return {
        "curve_names": np.frombuffer(json.dumps(names).encode(), dtype=np.uint8),
        "curve_of": np.repeat(np.arange(len(names), dtype=np.int16), [len(curves[name].value) for name in names]),
        "curve_task": np.concatenate([curves[name].task for name in names]).astype(np.int32),
        "curve_step": np.concatenate([curves[name].step for name in names]).astype(np.int64),
        "curve_value": np.concatenate([curves[name].value for name in names]).astype(np.float32),
    }


def read_curves(path: Path) -> dict[str, TrainingCurve]:
    """Read the curves of a run by name; empty if none were stored, as in older and published runs.

    Args:
        path: The file with the predictions.

    Raises:
        RecordError: If the file is missing, truncated or damaged, or its curves are inconsistent.
    """
    arrays = read_arrays(path, CURVE_ARRAYS)
    if not arrays:
        return {}
    try:
        names = json.loads(arrays["curve_names"].tobytes())
        of, columns = arrays["curve_of"], [arrays[f"curve_{column}"] for column in ("task", "step", "value")]
        kinds = [array.dtype.kind in "iu" for array in (of, *columns[:2])] + [columns[2].dtype.kind == "f"]
        shapes = {array.shape for array in (of, *columns)}
        if not all(kinds) or shapes != {(len(of),)} or not all(isinstance(name, str) for name in names):
            raise ValueError("they have wrong types or lengths")
        return {name: TrainingCurve(*(column[of == number] for column in columns)) for number, name in enumerate(names)}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"cannot read the curves of '{path}': {error}") from error
