"""Formatting of machines, numbers and foreign text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from clsuite.errors import on_screen

if TYPE_CHECKING:  # metrics import numpy, which commands that only list do not need
    from clsuite.metrics.column import Unit

DASH = "-"
"""Shown in tables for an undefined value."""


def machine_of(environment: Mapping[str, Any]) -> str:
    """The machine of a run, such as ``cpu: AMD EPYC``."""
    return f"{environment.get('device_type', 'unknown')}: {environment.get('device', 'unknown')}"


def kind_of(environment: Mapping[str, Any]) -> tuple[str, str]:
    """The machine of a run and its precision."""
    return machine_of(environment), str(environment.get("precision", "unknown"))


def rounded(value: float | None) -> float | None:
    """Round to nine digits, which are the same on every machine; None for undefined values.

    What remains of a difference of equal numbers, such as 1e-17, becomes zero.
    """
    return None if value is None or not math.isfinite(value) else float(f"{round(value, 12):.9g}") + 0.0


def shown(text: str) -> str:
    """A text for rich, without markup and control characters, and with very long words shortened."""
    return escape(on_screen(text))


def counted(number: int, thing: str) -> str:
    """A number with a noun, such as ``1 run`` or ``2 runs``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def number_text(value: float | None, unit: Unit, dash: str = DASH) -> str:
    """A value without its interval. Fractions are shown in percent, without the sign."""
    short = rounded(value)
    if short is None:
        return dash
    if unit == "share":
        return f"{100 * short:.1f}"
    if unit == "bytes":
        return bytes_text(short)
    if unit in ("parameters", "samples"):
        return short_number(short)
    return f"{short:.1f}" if unit == "seconds" else f"{short:.3f}"


def short_number(value: float) -> str:
    """A count with three digits and a unit: 930 k, 1.6 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def bytes_text(value: float) -> str:
    """A size with three digits and a unit: 512 B, 7.72 kB."""
    return f"{short_number(value)}B" if value >= 999.5 else f"{value:.0f} B"
