"""A module of a network under other names, and several things to undo as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

OPENED = "_opened_for_modules"


class Handles:
    """Several things to undo as one."""

    def __init__(self, *undo: Callable[[], Any]) -> None:
        """Keep them."""
        self._undo = undo

    def remove(self) -> None:
        """Undo them in order."""
        for undo in self._undo:
            undo()


class View(nn.Module):
    """A module under the names of timm; hooks go to the module itself."""

    def __init__(self, of: nn.Module, **parts: Any) -> None:
        """View a module; `parts` are attributes of the view."""
        super().__init__()
        self.of = of
        for name, part in parts.items():
            setattr(self, name, part)

    def register_forward_hook(self, *arguments: Any, **keywords: Any) -> Any:
        """As of the module."""
        return self.of.register_forward_hook(*arguments, **keywords)

    def register_forward_pre_hook(self, *arguments: Any, **keywords: Any) -> Any:
        """As of the module."""
        return self.of.register_forward_pre_hook(*arguments, **keywords)
