"""Retention probes: how much of the backbone's previous knowledge is left after a stream. Independent of any method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clsuite.lazy import imported_on_use

if TYPE_CHECKING:
    from clsuite.probes.base import Reading
    from clsuite.probes.own import Probe

__all__ = ["Probe", "Reading"]


__getattr__ = imported_on_use(
    __name__,
    {
        "Probe": "clsuite.probes.own",
        "Reading": "clsuite.probes.base",
    },
)
