"""Google docstrings, taken apart by griffe: the text, and what is said of each argument or attribute."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from griffe import Docstring, DocstringSectionKind, parse_google

DESCRIBED = (DocstringSectionKind.parameters, DocstringSectionKind.attributes)


@dataclass(frozen=True)
class Described:
    """A docstring.

    Attributes:
        text: All but the sections.
        members: The description of each argument or attribute by its name.
    """

    text: str
    members: Mapping[str, str]


def parse(docstring: str) -> Described:
    """Take a docstring apart."""
    sections = parse_google(Docstring(docstring), warnings=False)
    text = [str(section.value) for section in sections if section.kind is DocstringSectionKind.text]
    members = {one.name: one.description for section in sections if section.kind in DESCRIBED for one in section.value}
    return Described(markdown("\n\n".join(text)), {name: cell(about) for name, about in members.items()})


def markdown(text: str) -> str:
    """A docstring's text as Markdown: a list needs an empty line before it."""
    return re.sub(r"(?m)^(?![*-] )(\S.*)\n(?=[*-] )", r"\1\n\n", text)


def cell(text: str) -> str:
    """A text as a cell of a table: in one line, with its bars escaped."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def code(text: str) -> str:
    """Code in a cell of a table, where a bar between backticks could not be escaped."""
    return f"<code>{escape(text).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]], align: str = "") -> str:
    """A Markdown table.

    Args:
        headings: One for each column.
        rows: The cells of each row, already escaped.
        align: One letter for each column, ``l`` or ``r``; all to the left by default.
    """
    marks = ["--:" if one == "r" else "---" for one in align or "l" * len(headings)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, tuple(marks), *rows))
