"""Retention probes: what a stream leaves of what the backbone knew before it. Independent of any method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsuite.probes.base import Reading
    from clsuite.probes.own import Probe

__all__ = ["Probe", "Reading"]


def __getattr__(name: str) -> Any:
    """Import on first use: this package is imported by commands that must answer at once."""
    if name == "Probe":
        from clsuite.probes.own import Probe

        return Probe
    if name == "Reading":
        from clsuite.probes.base import Reading

        return Reading
    raise AttributeError(f"module 'clsuite.probes' has no attribute '{name}'")
