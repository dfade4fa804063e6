"""The plugin API. `Plugin` is imported on first use, because it needs lightning; the rest needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clsuite.plugin.ranges import check_range
from clsuite.plugin.traits import API_VERSION, Traits

if TYPE_CHECKING:
    from clsuite.plugin.base import Plugin

__all__ = ["API_VERSION", "Plugin", "Traits", "check_range"]


def __getattr__(name: str) -> Any:
    if name == "Plugin":
        from clsuite.plugin.base import Plugin

        return Plugin
    raise AttributeError(f"module 'clsuite.plugin' has no attribute '{name}'")
