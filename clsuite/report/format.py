"""How machines, figures and foreign texts are shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from clsuite.errors import on_screen


def machine_of(environment: Mapping[str, Any]) -> str:
    """The machine of a run, such as ``cpu: AMD EPYC``."""
    return f"{environment.get('device_type', 'unknown')}: {environment.get('device', 'unknown')}"


def kind_of(environment: Mapping[str, Any]) -> tuple[str, str]:
    """The machine of a run and its precision."""
    return machine_of(environment), str(environment.get("precision", "unknown"))


def rounded(value: float) -> float | None:
    """Nine digits, so that the last bits of another machine's arithmetic do not show; None for what is not defined.

    What is left of a difference of equal numbers (1e-17) is zero.
    """
    return float(f"{round(value, 12):.9g}") + 0.0 if math.isfinite(value) else None


def shown(text: str) -> str:
    """A text for rich: its brackets are no markup, nothing in it commands the terminal, and its words have an end."""
    return escape(on_screen(text))
