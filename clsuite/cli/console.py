"""The consoles that commands print to."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clsuite.errors import bearable, harmless, on_screen
from clsuite.report.fit import NARROW, TableColumn, add_columns
from clsuite.report.format import shown

PIPE_WIDTH = 2000
"""A width for any table with all its columns, used if the output is not a terminal."""


class PlainConsole(Console):
    """A console without markup, which breaks lines between words only.

    Brackets in a printed text are markup only with ``markup=True`` (in cells of tables they always are, and foreign
    text is put there with `clsuite.report.format.shown`); no text can send a command to the terminal.
    """

    def print(
        self, *objects: Any, markup: bool | None = None, soft_wrap: bool | None = None, title: bool = True, **more: Any
    ) -> None:
        """Print as rich does, but without markup by default.

        With ``soft_wrap`` a line is never longer than the terminal, except for a single word such as a path: words are
        not broken, and without a terminal no line is. With ``no_wrap`` no line is broken at all, as for a command to
        copy. Title and caption of a table have the width of the terminal, not of the table.
        """
        if title and len(objects) == 1 and isinstance(table := objects[0], Table):
            return self._print_table(table)
        texts = all(isinstance(item, str) for item in objects)
        markup = False if markup is None and texts else markup
        if soft_wrap and self.is_terminal and not more.get("no_wrap"):
            rendered = [self.render_str(item, markup=markup) if isinstance(item, str) else item for item in objects]
            objects = tuple(folded(item, self.width) if isinstance(item, Text) else item for item in rendered)
        return super().print(*objects, markup=markup, soft_wrap=soft_wrap, **more)

    def _print_table(self, table: Table) -> None:
        bare = copy.copy(table)
        bare.title = bare.caption = None
        if table.title:
            self.print(table.title, style="table.title", markup=True, soft_wrap=True)
        self.print(bare, title=False)
        if table.caption:
            self.print(table.caption, style="table.caption", markup=True, soft_wrap=True)

    def render_str(self, text: str, **more: Any) -> Text:
        """A text as rich makes it, without control characters and with very long words cut."""
        text = on_screen(text) if more.get("markup") is False else harmless(text)
        return super().render_str(text, **more)


def make_console(stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for every table if the output is piped."""
    console = PlainConsole(stderr=stderr, highlight=False, emoji=False)
    if console.is_terminal:
        return console
    return PlainConsole(stderr=stderr, highlight=False, emoji=False, width=PIPE_WIDTH, soft_wrap=False)


def print_error(text: str) -> None:
    """Print a line on standard error; in a terminal it is broken between words."""
    text = bearable(harmless(text))
    if is_terminal(sys.stderr):  # printed as text, since a live display may have taken the stream
        text = folded(Text(text), PlainConsole(stderr=True).width).plain
    print(text, file=sys.stderr)


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is an open terminal."""
    return stream.isatty()


def folded(text: Text, width: int) -> Text:
    """A text in lines that are no longer than the width, broken at blanks only; a longer word has its own line."""
    lines: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        breaks, start = [], 0
        for word in re.finditer(r"\S+", line.plain):
            if start < word.start() and cell_len(line.plain[start : word.end()]) > width:
                breaks.append(start := word.start())
        lines.extend(line.divide(breaks))
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def table_width(console: Console) -> int | None:
    """The width that tables must fit; None if the output is piped, where they have all columns."""
    return console.width if console.is_terminal else None


def print_table(
    console: Console, title: str, first: TableColumn, columns: Sequence[TableColumn], note: str = ""
) -> None:
    """Print a table that fits the terminal, and below it the columns that do not."""
    table = Table(title=title)
    left = [column.name for column in add_columns(table, first, columns, table_width(console))]
    hint = left_out(left)
    table.caption = "; ".join(shown(text) for text in (note, hint) if text) or None
    console.print(table)


def left_out(names: Sequence[str]) -> str:
    """The note about columns for which a terminal has no room; empty if there are none."""
    return f"{NARROW}{', '.join(names)} (a wider one or a pipe shows all)" if names else ""
