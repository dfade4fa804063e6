"""Tables in terminals of any width: no figure is cut or broken, no line is longer than the terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from rich.console import Console
from rich.table import Table

from clsuite.board.headline import headline_of
from clsuite.metrics import LAST, MTIL, PRIMARY
from clsuite.records import RunRecord, read_record
from clsuite.report.export import choose_columns, latex_table, markdown_table
from clsuite.report.fit import TableColumn, add_columns
from clsuite.report.summary import ResultTable, columns_of, summarize
from clsuite.report.table import SHOWN, figure_text, probes_table, results_table, shown_columns
from clsuite.runner.file_names import file_name

BOARD = Path(__file__).parents[2] / "leaderboard"
PUBLISHED = BOARD / "records"
WIDTHS = (40, 60, 80, 100, 120, 165)


@pytest.fixture(scope="module")
def published() -> dict[str, list[RunRecord]]:
    """Real runs: those of every board."""
    boards: dict[str, list[RunRecord]] = {}
    for path in sorted(PUBLISHED.glob("*/*/*.json")):
        if not path.name.endswith(".rerun.json"):
            record = read_record(path)
            boards.setdefault(record.benchmark, []).append(record)
    return boards


@pytest.fixture(scope="module")
def summaries(published: dict[str, list[RunRecord]]) -> dict[str, ResultTable]:
    """The results of every board."""
    return {benchmark: summarize(records) for benchmark, records in published.items()}


def render(table: Table, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system=None).print(table)
    return out.getvalue()


def rows_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│\n").split("│")] for line in text.splitlines() if "│" in line]


def under(text: str) -> str:
    return " ".join(text[text.rindex("┘") + 1 :].split())


def left_out(text: str) -> list[str]:
    told = re.search(
        r"not shown, as the terminal is too narrow: (.*) \(clsuite table FOLDER --columns NAME,... shows", under(text)
    )
    return [name.strip() for name in told.group(1).split(",")] if told else []


@pytest.mark.parametrize("width", WIDTHS)
def test_tables_of_real_runs_fit_and_no_figure_is_cut(summaries: dict[str, ResultTable], width: int) -> None:
    assert len(summaries) > 3
    for results in summaries.values():
        table = results_table(results, "Real runs", width)
        text = render(table, width)
        assert max(len(line) for line in text.splitlines()) <= width
        left = left_out(text)
        shown = [name for name in shown_columns(results) if name not in left]
        assert [*results.judged_by, PRIMARY][0] in shown
        for row, cells in zip(results.rows, rows_of(text), strict=True):
            figures = [figure_text(row.figures[name], results.columns[name]) for name in shown]
            assert cells[1 : 1 + len(figures)] == figures
            assert cells[0] == row.method or (cells[0].endswith("…") and len(cells) == 2)
        assert ("--columns" in under(text)) == bool(left)
        probes = probes_table(results, width)
        assert probes is None or max(len(line) for line in render(probes, width).splitlines()) <= width


def test_terminal_and_board_show_the_same_figures(
    published: dict[str, list[RunRecord]], summaries: dict[str, ResultTable]
) -> None:
    lines = (BOARD / "README.md").read_text("utf-8").splitlines()
    compared = 0
    for benchmark, records in published.items():
        results, headline = summaries[benchmark], headline_of(records[0].scenario.kind)
        accuracies = MTIL if records[0].scenario.kind == "cross_domain" else [LAST, *SHOWN[:4]]
        names = dict.fromkeys([headline, *accuracies])  # the board begins with what it is ranked by
        texts = {quote(file_name(row.method)): [figure_text(row.figures[name], results.columns[name]) for name in names]
                 for row in results.rows}  # fmt: skip
        for line in (line for line in lines if f"](records/{benchmark}/" in line):
            cells = [cell.strip(" *").replace("\\", "") for cell in line.strip("|").split(" | ")]
            method = cells[1].partition(f"](records/{benchmark}/")[2].partition(")")[0]
            assert cells[2 : 2 + len(names)] == ["\N{EN DASH}" if text == "-" else text for text in texts[method]]
            compared += 1
    assert compared > 100


def test_the_first_columns_are_final_accuracy_incremental_accuracy_and_forgetting(records: list[RunRecord]) -> None:
    table = results_table(summarize(records), "Tiny", 56)
    headings = " ".join(str(column.header) for column in table.columns)
    assert " ".join(headings.split()) == "method final acc. (macro) ↑ avg. inc. acc. ↑ forgetting ↓"


def test_columns_that_were_asked_for_come_in_the_order_of_asking(records: list[RunRecord]) -> None:
    results = summarize(records)
    asked = choose_columns(results.columns, ["stored_bytes", "train_seconds", PRIMARY])
    text = render(results_table(results, "Tiny", 36, asked), 36)
    assert "stored" in text
    assert left_out(text) == [PRIMARY, "the number of seeds"]


def test_all_columns_can_be_asked_for(records: list[RunRecord]) -> None:
    columns = columns_of(records)
    assert choose_columns(columns, ["all"]) == list(columns.values())


def test_a_pipe_shows_all(records: list[RunRecord]) -> None:
    table = results_table(summarize(records), "Tiny")
    assert len(table.columns) == len(SHOWN) + 2
    assert "left out" not in str(table.caption)


def test_a_column_without_figures_is_the_first_to_go(records: list[RunRecord]) -> None:
    without = [record for record in records if record.method != "joint"]
    text = render(results_table(summarize(without), "Tiny", 140), 140)
    assert left_out(text) == ["intransigence"]


@pytest.mark.parametrize(("width", "name"), [(60, "a" * 30), (40, "a" * 22 + "…"), (10, "aaaa…")])
def test_names_are_shortened_last(width: int, name: str) -> None:
    table = Table()
    columns = [TableColumn("one", "one", ["12.3 ± 4.5"], 0), TableColumn("two", "two", ["1"], 1)]
    left = add_columns(table, TableColumn("method", "method", ["a" * 30]), columns, width)
    cells = rows_of(render(table, max(width, 30)))[0]
    assert cells[1] == "12.3 ± 4.5"
    assert cells[0] == name
    assert [column.name for column in left] == ([] if width == 60 else ["two"])


def test_a_word_of_a_heading_is_never_broken() -> None:
    table = Table()
    add_columns(table, TableColumn("m", "m", ["x"]), [TableColumn("h", "average incrementally ↑", ["1"])], 22)
    assert str(table.columns[1].header).splitlines() == ["average", "incrementally ↑"]


def test_an_upper_bound_is_not_the_best_anywhere(records: list[RunRecord]) -> None:
    results = summarize(records)
    assert results.rows[0].method == "joint"
    assert not [name for name, figure in results.rows[0].figures.items() if figure.best]
    for text, bold in ((markdown_table(records, [PRIMARY]), "**"), (latex_table(records, [PRIMARY]), "textbf")):
        assert [line.split()[0 if bold != "**" else 1] for line in text.splitlines() if bold in line] == ["replay"]
    table = results_table(results, "Tiny")
    bold = [re.search("bold", str(cell)) is not None for cell in table.columns[1].cells]
    assert bold == [False, True, False]


def test_the_arguments_of_a_method_may_stand_below_its_name() -> None:
    columns = [TableColumn("a", "er_ace.py(capacity=50)", ["1.0"]), TableColumn("b", "replay(capacity=50)", ["2.0"], 1)]

    def headings(width: int) -> str:
        table = Table()
        assert add_columns(table, TableColumn("metric", "metric", ["final"]), columns, width) == []
        return render(table, width)

    assert "er_ace.py(capacity=50) " in headings(80)
    lines = headings(45).splitlines()
    assert lines[1].split() == ["┃", "┃", "er_ace.py", "┃", "replay", "┃"]
    assert lines[2].split() == ["┃", "metric", "┃", "(capacity=50)", "┃", "(capacity=50)", "┃"]
