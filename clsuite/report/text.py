"""Foreign text in a terminal."""

from __future__ import annotations

from rich.markup import escape

from clsuite.errors import harmless


def shown(text: str) -> str:
    """A text for rich: its brackets are no markup, and nothing in it is a command to the terminal."""
    return escape(harmless(text))
