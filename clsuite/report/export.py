"""Tables as CSV, Markdown and LaTeX: mean ± half-width of the 95 % interval over seeds, or over orders."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from clsuite.errors import did_you_mean, harmless, on_one_line
from clsuite.metrics import Column
from clsuite.records import RunRecord
from clsuite.report.summary import Figure, RankBy, Row, columns_of, summarize
from clsuite.report.table import SHOWN, figure_text, heading, orders_text, shown_columns

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
LATEX_WORDS = {" ± ": r" $\pm$ ", " · ": r" $\cdot$ ", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
MARKDOWN = {"&": "&amp;", "<": "&lt;", **{character: f"\\{character}" for character in "\\|`*_[]"}}


def choose_columns(known: Mapping[str, Column], names: Sequence[str], usual: Sequence[str] = SHOWN) -> list[Column]:
    """The columns with the given names; without names, the usual ones; all of them for ``all``.

    Raises:
        UserError: If a name is unknown.
    """
    if list(names) == ["all"]:
        return list(known.values())
    for name in names:
        if name not in known:
            raise did_you_mean("column", name, known)
    return [known[name] for name in names or usual]


def csv_table(records: Sequence[RunRecord], names: Sequence[str], rank_by: RankBy = "mean") -> str:
    """One line per benchmark and method with mean and half-width of each column, accuracies as fractions."""
    columns = choose_columns(columns_of(records), names or ["all"])
    tables = {name: summarize(group, rank_by).rows for name, group in by_benchmark(records).items()}
    head, *lines = csv_lines([row for rows in tables.values() for row in rows], columns)
    names = [name for name, rows in tables.items() for _ in rows]
    return csv_text([["benchmark", *head], *([name, *line] for name, line in zip(names, lines, strict=True))])


def csv_lines(rows: Sequence[Row], columns: Sequence[Column]) -> list[list[Any]]:
    """Header and lines: each row's method, its seeds, and mean and half-width of each column; counts are exact.

    If a row has several orders, all have the names of theirs, and minimum, median and maximum over orders of each
    column that is no cost.
    """
    several = any(row.orders for row in rows)
    head = ["method", "seeds", *(["orders"] if several else [])]
    head += [f"{column.name}{part}" for column in columns for part in ("", "_interval", *_parts(column, several))]
    return [head, *(_csv_line(row, columns, several) for row in rows)]


def _parts(column: Column, several: bool) -> tuple[str, ...]:
    return ("_min", "_median", "_max") if several and not column.is_cost else ()


def _csv_line(row: Row, columns: Sequence[Column], several: bool) -> list[Any]:
    line: list[Any] = [row.method, " ".join(str(seed) for seed in dict.fromkeys(row.seeds))]
    line += ["; ".join(dict.fromkeys(row.orders))] if several else []
    for column in columns:
        figure = row.figures.get(column.name)
        line += [_exact(figure.mean), _exact(figure.half)] if figure else [None, None]
        if _parts(column, several):
            over = figure.spread if figure else None
            line += [_exact(over.minimum), _exact(over.median), _exact(over.maximum)] if over else [None] * 3
    return line


def _exact(value: float | None) -> float | int | None:
    """Round to twelve digits, which are the same on every machine; a count becomes an integer."""
    if value is None:
        return None
    short = float(f"{value:.12g}")
    return int(short) if short.is_integer() else short


def csv_text(lines: Sequence[Sequence[Any]]) -> str:
    """Rows as CSV text: undefined values (None) are empty cells, and no text is read as a formula by a spreadsheet."""
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerows([_cell(value) for value in line] for line in lines)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A number unchanged, or a text on one line, with an apostrophe if a spreadsheet would take it for a formula."""
    if not isinstance(value, str):
        return value
    quote = "'" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else ""
    return harmless(on_one_line(f"{quote}{value}"))


def markdown_table(records: Sequence[RunRecord], names: Sequence[str], rank_by: RankBy = "mean") -> str:
    """A Markdown table per benchmark, accuracies in percent."""
    return "\n".join(_markdown(name, group, names, rank_by) for name, group in by_benchmark(records).items())


def _markdown(benchmark: str, records: Sequence[RunRecord], names: Sequence[str], rank_by: RankBy) -> str:
    head, *body = _lines(records, names, rank_by, markdown_text, "**{}**".format)
    return f"### {markdown_text(benchmark)}\n\n" + "".join(f"{line}\n" for line in markdown_lines(head, body))


def markdown_lines(head: Sequence[str], body: Iterable[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """The lines of a Markdown table; columns at the positions `left` are aligned left, all others right."""
    rule = ["---" if position in left else "--:" for position in range(len(head))]
    return [f"| {' | '.join(line)} |" for line in (head, rule, *body)]


def markdown_text(text: str) -> str:
    """A text on one line with all Markdown escaped."""
    return escape_text(text, MARKDOWN)


def latex_table(records: Sequence[RunRecord], names: Sequence[str], rank_by: RankBy = "mean") -> str:
    """A LaTeX table per benchmark with the rules of the package booktabs, accuracies in percent."""
    tables = [_latex(name, group, names, rank_by) for name, group in by_benchmark(records).items()]
    return "% needs \\usepackage{booktabs}\n" + "\n".join(tables)


def _latex(benchmark: str, records: Sequence[RunRecord], names: Sequence[str], rank_by: RankBy) -> str:
    head, *body = _lines(records, names, rank_by, latex_text, r"\textbf{{{}}}".format)
    over = "orders (min $\\cdot$ median $\\cdot$ max)" if "orders" in head else "seeds"
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(benchmark)}: accuracies in \%, mean $\pm$ 95\,\% interval over {over}.}}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
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


def _lines(
    records: Sequence[RunRecord],
    names: Sequence[str],
    rank_by: RankBy,
    escape: Callable[[str], str],
    bold: Callable[[str], str],
) -> list[list[str]]:
    """Header and rows of the table in a format with its own way to escape text and to mark the best values."""
    results = summarize(records, rank_by)
    columns = choose_columns(results.columns, names, shown_columns(results))
    several = any(row.orders for row in results.rows)

    def cell(figure: Figure, column: Column) -> str:
        text = escape(figure_text(figure, column))
        return bold(text) if figure.best else text

    lines = [["method", *(escape(heading(column)) for column in columns), "seeds", *(["orders"] if several else [])]]
    for row in results.rows:
        cells = [cell(row.figures[column.name], column) for column in columns]
        orders = [orders_text(row)] if several else []
        lines.append([escape(row.method), *cells, str(len({*row.seeds})), *orders])
    return lines


def escape_text(text: str, table: Mapping[str, str]) -> str:
    """A text on one line, with special characters of a format replaced according to a table."""
    line = harmless(" ".join(text.split()))
    return "".join(table.get(character, character) for character in line)


def latex_text(text: str) -> str:
    """A text on one line with all LaTeX escaped, and with the symbols of tables as commands."""
    escaped = escape_text(text, LATEX)
    for word, command in LATEX_WORDS.items():
        escaped = escaped.replace(word, command)
    return escaped
