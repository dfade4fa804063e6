"""How often a test image passes the network in each method, as ``docs/generator/measure_passes.py`` measured it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FILE = Path(__file__).parents[1] / "passes.json"


@cache
def read() -> dict[str, list[float]]:
    """Passes after each task, by the name of the method."""
    return dict(json.loads(FILE.read_text(encoding="utf-8"))) if FILE.exists() else {}


def text(measured: Sequence[float]) -> str:
    """Passes in words, with T for the number of tasks learned: the line through what the last two tasks had.

    The first task may have fewer: an ensemble with one member is no ensemble yet.

    Args:
        measured: Passes after each task, of two or more.
    """
    slope = measured[-1] - measured[-2]
    start = measured[-1] - slope * len(measured)
    if not slope:
        return f"{start:g}"
    growing = "T" if slope == 1 else f"{slope:g} T"
    return growing if not start else f"{growing} {'+' if start > 0 else '-'} {abs(start):g}"
