"""The consoles that commands print to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clsuite.errors import harmless
from clsuite.report.fit import TableColumn, add_columns
from clsuite.report.text import shown

PIPE_WIDTH = 2000
"""Wide enough for any table with all its columns, where the output is no terminal."""


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


def table_width(console: Console) -> int | None:
    """The width that tables must fit; None where the output is piped, and they have all columns."""
    return console.width if console.is_terminal else None


def print_table(
    console: Console, title: str, first: TableColumn, columns: Sequence[TableColumn], note: str = ""
) -> None:
    """Print a table that fits the terminal, and below it which columns do not."""
    table = Table(title=title)
    left = [column.name for column in add_columns(table, first, columns, table_width(console))]
    told = f"left out for want of width: {', '.join(left)}" if left else ""
    table.caption = "; ".join(shown(text) for text in (note, told) if text) or None
    console.print(table)
