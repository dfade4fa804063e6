"""Tables that fit a terminal: columns are selected by importance, and values are never cut or wrapped."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

AROUND = 3
"""Width of a column beyond its text: a blank on either side, and a line."""
NARROW = "not shown, as the terminal is too narrow: "
"""Precedes the names of omitted columns."""
ARGUMENTS = "\N{WORD JOINER}"
"""Marks the beginning of a method's arguments while a heading is wrapped."""
SHORTEST = 5
"""Number of characters that are shown of a shortened name, however narrow the terminal."""


@dataclass(frozen=True)
class TableColumn:
    """A column of values.

    Attributes:
        name: Its name in the note about omitted columns.
        heading: Wrapped at blanks, hyphens and before arguments in brackets; the arrow at its end stays with the last
            word.
        cells: One for each row, in rich's markup.
        importance: Columns with lower numbers are shown first.
    """

    name: str
    heading: str
    cells: Sequence[str]
    importance: int = 0

    @property
    def natural(self) -> int:
        """Width with the heading on one line."""
        return max(len(self.heading), self._figures)

    @property
    def least(self) -> int:
        """Width with the heading wrapped wherever possible."""
        return max(self._figures, *(len(line) for line in _broken(self.heading, 1)))

    @property
    def _figures(self) -> int:
        return max((_width(cell) for cell in self.cells), default=0)


def add_columns(
    table: Table, first: TableColumn, columns: Sequence[TableColumn], width: int | None
) -> list[TableColumn]:
    """Fill a table: a column of names, then as many columns of values as fit.

    Names are shortened, with an ellipsis, only if there would be no room for the most important column.

    Args:
        table: An empty table with the default box.
        first: The column of names.
        columns: The others, from left to right.
        width: Width of the terminal; None shows all columns.

    Returns:
        The columns that do not fit.
    """
    room = None if width is None else width - 1 - AROUND - max(first.natural, SHORTEST)
    shown, left = _chosen(columns, room)
    names = None if width is None else max(SHORTEST, width - 1 - AROUND - sum(shown[i] + AROUND for i in shown))
    table.add_column(first.heading, no_wrap=True, overflow="ellipsis", max_width=names)
    for index, taken in shown.items():
        heading = "\n".join(_broken(columns[index].heading, taken))
        table.add_column(heading, justify="right", min_width=taken, no_wrap=True)
    for row, name in enumerate(first.cells):
        table.add_row(name, *(columns[index].cells[row] for index in shown))
    return left


def _chosen(columns: Sequence[TableColumn], room: int | None) -> tuple[dict[int, int], list[TableColumn]]:
    """The widths of the shown columns by position, and the columns that are not shown."""
    if room is None or sum(column.natural + AROUND for column in columns) <= room:
        return {index: column.natural for index, column in enumerate(columns)}, []
    taken: dict[int, int] = {}
    for index in sorted(range(len(columns)), key=lambda index: columns[index].importance):
        if not taken or columns[index].least + AROUND <= room:
            taken[index] = columns[index].least
            room -= columns[index].least + AROUND
    shown = dict(sorted(taken.items()))
    for index, least in shown.items():
        if (more := columns[index].natural - least) <= room:
            shown[index] += more
            room -= more
    return shown, [column for index, column in enumerate(columns) if index not in shown]


def _broken(heading: str, width: int) -> list[str]:
    """The lines of a wrapped heading; an arrow at its end stays with the word before it.

    The arguments of a method, as in ``replay(capacity=50)``, may be on a separate line.
    """
    if len(heading) <= width:
        return [heading]
    heading = re.sub(r"(?<=\S)\(", f" {ARGUMENTS}(", heading)
    words, _, mark = heading.rpartition(" ")
    bound = f"{words}\N{NO-BREAK SPACE}{mark}" if words and len(mark) == 1 else heading
    lines = textwrap.wrap(bound, max(width, 1), break_long_words=False) or [""]
    return [re.sub(f" ?{ARGUMENTS}", "", line).replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _width(cell: str) -> int:
    return Text.from_markup(cell).cell_len
