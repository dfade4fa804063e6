"""`clsuite cite-table`: a table of results with its references, for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clsuite.board.cite.formats import text_of
from clsuite.board.cite.protocol import cited_by, paragraph
from clsuite.board.cite.references import bibliography
from clsuite.board.cite.table import CiteTable, make_table
from clsuite.cli.console import make_console
from clsuite.cli.export import gathered
from clsuite.errors import UserError, harmless
from clsuite.records import atomic_path
from clsuite.report.format import counted

BIBLIOGRAPHY = ".bib"


def cite_table(
    places: Sequence[Path],
    form: str,
    methods: Sequence[str],
    benchmarks: Sequence[str],
    columns: Sequence[str],
    out: Path | None,
) -> None:
    """Print a table with its paragraph and references, or write them: the references into a file beside the table.

    Raises:
        UserError: If a place has no record, a name is unknown, or the file's name is that of the references.
    """
    if out is not None and out.suffix == BIBLIOGRAPHY:
        other = out.with_suffix(".tex")
        raise UserError(f"-o is '{out}', but the references are written there: name the table, such as {other}")
    table = make_table(list(gathered(places).values()), methods, benchmarks, columns)
    text = text_of(table, form)
    if out is None:
        _print(table, text, form)
        return
    written = {out: text, out.with_suffix(BIBLIOGRAPHY): harmless(bibliography(cited_by(table)))}
    if form == "csv":
        written[out.with_suffix(".txt")] = harmless(f"{paragraph(table)}\n")
    for path, content in written.items():
        with atomic_path(path) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="")
    rows = counted(len(table.rows), "row")
    make_console().print(f"{rows}: {', '.join(str(path) for path in written)}", soft_wrap=True)


def _print(table: CiteTable, text: str, form: str) -> None:
    """Print a table; of LaTeX, also the bibliography, which Markdown has in it and CSV only as a file."""
    print(text, end="")
    if form == "latex":
        print()
        print(harmless(bibliography(cited_by(table))), end="")
    if form == "csv":
        make_console(stderr=True).print("note: with -o FILE, the references and the paragraph are written beside it")
