"""The consoles that commands print to."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from clsuite.report.fit import TableColumn, add_columns
from clsuite.report.text import shown

PIPE_WIDTH = 2000
"""Wide enough for any table with all its columns, where the output is no terminal."""


def make_console(stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for every table where the output is piped."""
    console = Console(stderr=stderr, highlight=False)
    return (
        console if console.is_terminal else Console(stderr=stderr, highlight=False, width=PIPE_WIDTH, soft_wrap=False)
    )


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
