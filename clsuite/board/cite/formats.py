"""A table that can be cited as LaTeX, Markdown or CSV, with its paragraph and its bibliography."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from clsuite.board.cite.protocol import cited_by, paragraph, short_label
from clsuite.board.cite.references import bibliography
from clsuite.board.cite.table import Cell, CiteRow, CiteTable
from clsuite.board.site.text import half_text, value_text
from clsuite.errors import harmless
from clsuite.metrics import Column
from clsuite.report.export import csv_text, latex_text, markdown_lines, markdown_text

CITATION = re.compile(r"\[(@[a-z0-9]+(?:; @[a-z0-9]+)*)\]")
EMPTY = "--"
SYMBOLS = {"<": "$<$", "\N{DAGGER}": r"$\dagger$", "±": r"$\pm$"}
"""Symbols of paragraphs as LaTeX writes them."""
PLACES = {1: r"\textbf{{{}}}", 2: r"\underline{{{}}}", 0: "{}"}
MARKS = {"*": "$^{*}$", "\N{DAGGER}": r"$^{\dagger}$", "": ""}


def latex(table: CiteTable) -> str:
    """A table for the package booktabs, and the paragraph, both with citations of the bibliography."""
    names = [name for name, _ in table.columns]
    groups = [(name, len(list(group))) for name, group in groupby(names)]
    heads, rules, start = [""], [], 2
    for name, width in groups:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_text(name)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    labels = ["Method", *(latex_text(_label(column)) for _, column in table.columns)]
    lines = [
        "% needs \\usepackage{booktabs}", r"\begin{table}[t]", r"\centering",
        rf"\caption{{{_latex_words(_caption(table))}}}", r"\label{tab:clsuite}",
        rf"\begin{{tabular}}{{l{'r' * len(names)}}}", r"\toprule", f"{' & '.join(heads)} \\\\", " ".join(rules),
        f"{' & '.join(labels)} \\\\", r"\midrule", *_latex_rows(table), r"\bottomrule", r"\end{tabular}",
        r"\end{table}", "", rf"\paragraph{{Protocol.}} {_latex_words(paragraph(table))}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _latex_rows(table: CiteTable) -> Iterator[str]:
    """The rows, with a rule between bounds and methods."""
    for index, row in enumerate(table.rows):
        if index and row.bound is None and table.rows[index - 1].bound is not None:
            yield r"\midrule"
        cited = rf"~\cite{{{','.join(reference.key for reference in row.cited)}}}" if row.cited else ""
        cells = [_latex_cell(cell, column) for cell, (_, column) in zip(row.cells, table.columns, strict=True)]
        yield f"{' & '.join([latex_text(_name(row)) + cited, *cells])} \\\\"


def _latex_cell(cell: Cell | None, column: Column) -> str:
    if cell is None or cell.figure.mean is None:
        return EMPTY
    half = half_text(cell.figure, column)
    value = PLACES[cell.place].format(latex_text(value_text(cell.figure.mean, column.unit)))
    interval = rf" {{\scriptsize$\pm$ {half}}}" if half else ""
    return f"{value}{interval}{MARKS[cell.mark]}"


def _latex_words(text: str) -> str:
    """A text in LaTeX, with its citations as commands."""
    parts = CITATION.split(text)
    return "".join(
        rf"\cite{{{part.replace('@', '').replace('; ', ',')}}}" if index % 2 else _latex_symbols(part)
        for index, part in enumerate(parts)
    )


def _latex_symbols(text: str) -> str:
    """A text in LaTeX that keeps the blanks at its ends."""
    escaped = latex_text(f"|{text}|")[1:-1]
    for symbol, command in SYMBOLS.items():
        escaped = escaped.replace(symbol, command)
    return escaped


def markdown(table: CiteTable) -> str:
    """A table, the paragraph with citations that Pandoc reads, and the bibliography as a block of code."""
    head = ["method", *(markdown_text(f"{name}: {_label(column)}") for name, column in table.columns)]
    body = [
        [
            f"{markdown_text(_name(row))}{''.join(f' [@{one.key}]' for one in row.cited)}",
            *(_markdown_cell(cell, column) for cell, (_, column) in zip(row.cells, table.columns, strict=True)),
        ]
        for row in table.rows
    ]
    lines = [*markdown_lines(head, body), "", _caption(table), "", _markdown_words(paragraph(table))]
    return "\n".join([*lines, "", "```bibtex", bibliography(cited_by(table)).rstrip("\n"), "```"]) + "\n"


def _markdown_cell(cell: Cell | None, column: Column) -> str:
    if cell is None or cell.figure.mean is None:
        return EMPTY
    value, half = value_text(cell.figure.mean, column.unit), half_text(cell.figure, column)
    shown = {1: f"**{value}**", 2: f"<u>{value}</u>", 0: value}[cell.place]
    return f"{shown}{f' ± {half}' if half else ''}{markdown_text(cell.mark)}"


def _markdown_words(text: str) -> str:
    """A text in Markdown that keeps its citations."""
    parts = CITATION.split(text)
    return "".join(f"[{part}]" if index % 2 else markdown_text(f"x{part}x")[1:-1] for index, part in enumerate(parts))


def csv(table: CiteTable) -> str:
    """One line for each method, benchmark and metric, with exact figures."""
    lines: list[list[Any]] = [
        ["method", "title", "bound", "citations", "benchmark", "metric", "mean", "half_width", "seeds", "place", "mark"]
    ]
    for row in table.rows:
        cited = " ".join(reference.key for reference in row.cited)
        for cell, (name, column) in zip(row.cells, table.columns, strict=True):
            if cell is not None:
                seeds = " ".join(str(seed) for seed in cell.seeds)
                figures = (cell.figure.shortened.mean, cell.figure.shortened.half, seeds, cell.place or None, cell.mark)
                lines.append([row.method, row.title, row.bound, cited, name, column.name, *figures])
    return csv_text(lines)


def _name(row: CiteRow) -> str:
    return f"{row.title} ({row.bound} bound)" if row.bound else row.title


def _label(column: Column) -> str:
    return f"{short_label(column)} {column.arrow}".rstrip()


def _caption(table: CiteTable) -> str:
    """What the table shows, in one sentence."""
    seeds = sorted({len(cell.seeds) for row in table.rows for cell in row.cells if cell})
    number = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    unit = "in % " * all(column.unit == "share" for _, column in table.columns)
    over = f"{unit}over {number} seed{'s' * (seeds[-1] != 1)}"
    return f"Mean ± half of the 95 % interval {over}; the best of a column is bold, the second underlined."


FORMATS: dict[str, Callable[[CiteTable], str]] = {"latex": latex, "markdown": markdown, "csv": csv}


def text_of(table: CiteTable, form: str) -> str:
    """The table in a format, with no characters that a terminal would obey."""
    return harmless(FORMATS[form](table))
