"""Views of modules under other names, and combined handles to remove hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

OPENED = "_opened_for_modules"


class Handles:
    """A handle that combines several undo functions."""

    def __init__(self, *undo: Callable[[], Any]) -> None:
        """Store the functions."""
        self._undo = undo

    def remove(self) -> None:
        """Call them in order."""
        for undo in self._undo:
            undo()


class View(nn.Module):
    """A module under timm's names; hooks are registered with the module itself."""

    def __init__(self, of: nn.Module, **parts: Any) -> None:
        """Create a view of a module; `parts` become attributes of the view."""
        super().__init__()
        self.of = of
        for name, part in parts.items():
            setattr(self, name, part)

    def register_forward_hook(self, *arguments: Any, **keywords: Any) -> Any:
        """Register with the module."""
        return self.of.register_forward_hook(*arguments, **keywords)

    def register_forward_pre_hook(self, *arguments: Any, **keywords: Any) -> Any:
        """Register with the module."""
        return self.of.register_forward_pre_hook(*arguments, **keywords)
