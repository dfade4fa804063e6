"""Kinds of machine: what times are comparable within, and where counts must be the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def machine_of(environment: Mapping[str, Any]) -> str:
    """The machine of a run, such as ``cpu: AMD EPYC``."""
    return f"{environment.get('device_type', 'unknown')}: {environment.get('device', 'unknown')}"


def kind_of(environment: Mapping[str, Any]) -> tuple[str, str]:
    """The machine of a run and its precision."""
    return machine_of(environment), str(environment.get("precision", "unknown"))
