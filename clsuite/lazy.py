"""Public names that are imported on first use, so that importing a package is fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def imported_on_use(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose names are defined in other modules.

    Args:
        package: Name of the package, for the error message.
        homes: The module in which each name is defined.

    Returns:
        A function of a name; it raises an AttributeError if the package has no such name.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(homes[name]), name)

    return find
