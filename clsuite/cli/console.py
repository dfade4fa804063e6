"""The consoles that commands print to."""

from __future__ import annotations

from rich.console import Console

PIPE_WIDTH = 200


def make_console(stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for every table where the output is piped."""
    console = Console(stderr=stderr, highlight=False)
    return (
        console if console.is_terminal else Console(stderr=stderr, highlight=False, width=PIPE_WIDTH, soft_wrap=False)
    )
