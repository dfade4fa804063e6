"""Foreign text in a terminal."""

from __future__ import annotations

from rich.markup import escape


def shown(text: str) -> str:
    """A text for rich: its brackets are no markup, and nothing in it is a command to the terminal."""
    return escape("".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text))
