"""The consoles that commands print to."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from clsuite.errors import harmless

PIPE_WIDTH = 200


class PlainConsole(Console):
    """A console on which a text is what it says.

    Brackets in a text that is printed are no markup unless ``markup=True`` says so (in cells of tables they are, and
    foreign text goes there through `clsuite.report.text.shown`), and nothing in any text is a command to the terminal.
    """

    def print(self, *objects: Any, markup: bool | None = None, **more: Any) -> None:
        """Print as rich does, but texts without markup by default."""
        texts = all(isinstance(one, str) for one in objects)
        super().print(*objects, markup=False if markup is None and texts else markup, **more)

    def render_str(self, text: str, **more: Any) -> Text:
        """A text as rich makes it, without control characters."""
        return super().render_str(harmless(text), **more)


def make_console(stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for every table where the output is piped."""
    console = PlainConsole(stderr=stderr, highlight=False, emoji=False)
    if console.is_terminal:
        return console
    return PlainConsole(stderr=stderr, highlight=False, emoji=False, width=PIPE_WIDTH, soft_wrap=False)
