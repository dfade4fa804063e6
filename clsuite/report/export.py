"""Tables for other programs: CSV, Markdown and LaTeX, mean ± half-width of the 95 % interval over seeds."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import Any

from clsuite.errors import did_you_mean, harmless, on_one_line
from clsuite.records import RunRecord
from clsuite.report.summary import Column, Row, columns_of, summarize
from clsuite.report.table import SHOWN, best_methods, figure_text

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
LATEX_WORDS = {" ± ": r" $\pm$ ", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
MARKDOWN = {"&": "&amp;", "<": "&lt;", **{character: f"\\{character}" for character in "\\|`*_[]"}}


def choose_columns(records: Sequence[RunRecord], names: Sequence[str]) -> dict[str, Column]:
    """The named figures of some records; without names, those that the terminal shows; all of them by ``all``.

    Raises:
        UserError: If a figure is unknown.
    """
    known = columns_of(records)
    if list(names) == ["all"]:
        return known
    for name in names:
        if name not in known:
            raise did_you_mean("column", name, known)
    return {name: known[name] for name in names or SHOWN}


def csv_table(records: Sequence[RunRecord], names: Sequence[str]) -> str:
    """One line per benchmark and method: mean and half-width of each figure, accuracies as fractions."""
    columns = choose_columns(records, names or list(columns_of(records)))
    lines: list[list[Any]] = [["benchmark", *csv_head(columns)]]
    for benchmark, group in by_benchmark(records).items():
        lines += [[benchmark, *csv_line(row, columns)] for row in summarize(group)]
    return csv_text(lines)


def csv_head(columns: Mapping[str, Column]) -> list[str]:
    """The heading of `csv_line`."""
    return ["method", "seeds", *(part for name in columns for part in (name, f"{name}_interval"))]


def csv_line(row: Row, columns: Mapping[str, Column]) -> list[Any]:
    """A row's method, seeds, and the mean and half-width of each figure; counts are exact."""
    figures = [_exact(value) for name in columns for value in row.interval(name)]
    return [row.method, " ".join(str(seed) for seed in row.seeds), *figures]


def _exact(value: float) -> float | int:
    """Twelve digits, which are the same on every machine; a count is written without a point."""
    short = float(f"{value:.12g}")
    return int(short) if short.is_integer() else short


def csv_text(lines: Sequence[Sequence[Any]]) -> str:
    """Lines as CSV: what is not defined (None, nan) is an empty cell, and no text is a formula to a spreadsheet."""
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerows([_cell(value) for value in line] for line in lines)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A value as it is, and a text on one line; an apostrophe quotes what a spreadsheet would take for a formula."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if not isinstance(value, str):
        return value
    quote = "'" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else ""
    return harmless(on_one_line(f"{quote}{value}"))


def markdown_table(records: Sequence[RunRecord], names: Sequence[str]) -> str:
    """A Markdown table per benchmark, accuracies in per cent."""
    return "\n".join(_markdown(name, group, names) for name, group in by_benchmark(records).items())


def _markdown(benchmark: str, records: Sequence[RunRecord], names: Sequence[str]) -> str:
    columns = choose_columns(records, names)
    head = ["method", *_headings(columns), "seeds"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    lines += _body(summarize(records), columns, lambda text: escape_text(text, MARKDOWN), "**{}**".format)
    title = escape_text(benchmark, MARKDOWN)
    return f"### {title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def latex_table(records: Sequence[RunRecord], names: Sequence[str]) -> str:
    """A LaTeX table per benchmark with the rules of the package booktabs, accuracies in per cent."""
    tables = [_latex(name, group, names) for name, group in by_benchmark(records).items()]
    return "% needs \\usepackage{booktabs}\n" + "\n".join(tables)


def _latex(benchmark: str, records: Sequence[RunRecord], names: Sequence[str]) -> str:
    columns = choose_columns(records, names)
    body = _body(summarize(records), columns, _latex_text, r"\textbf{{{}}}".format)
    head = ["method", *(_latex_text(text) for text in _headings(columns)), "seeds"]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex_text(benchmark)}: accuracies in \%, mean $\pm$ 95\,\% interval over seeds.}}",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) + 1)}}}",
        r"\toprule",
        f"{' & '.join(head)} \\\\",
        r"\midrule",
        *(f"{' & '.join(line)} \\\\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def by_benchmark(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The records of each benchmark, by name."""
    names = sorted({record.benchmark for record in records})
    return {name: [record for record in records if record.benchmark == name] for name in names}


def _headings(columns: Mapping[str, Column]) -> list[str]:
    arrows = {True: " ↑", False: " ↓", None: ""}
    return [f"{column.label}{arrows[column.higher_is_better]}" for column in columns.values()]


def _body(
    rows: Sequence[Row], columns: Mapping[str, Column], escape: Callable[[str], str], bold: Callable[[str], str]
) -> list[list[str]]:
    best = {name: best_methods(rows, name, column) for name, column in columns.items()}
    lines = []
    for row in rows:
        cells = [escape(figure_text(row, name, column)) for name, column in columns.items()]
        marked = [bold(cell) if row.method in best[name] else cell for name, cell in zip(columns, cells, strict=True)]
        lines.append([escape(row.method), *marked, str(len(row.seeds))])
    return lines


def escape_text(text: str, table: Mapping[str, str]) -> str:
    """A text on one line, with what means something to the format replaced by the table's words."""
    line = harmless(" ".join(text.split()))
    return "".join(table.get(character, character) for character in line)


def _latex_text(text: str) -> str:
    escaped = escape_text(text, LATEX)
    for word, command in LATEX_WORDS.items():
        escaped = escaped.replace(word, command)
    return escaped
