"""The page of all methods: what each does, its paper, its memory and cost, and its figures on every board."""

from __future__ import annotations

from clsuite.plugin.catalog import find_plugin
from clsuite.report.format import number_text
from clsuite_docs import passes
from clsuite_docs.board import NONE, Benchmark, Row, benchmarks
from clsuite_docs.docstrings import cell, table
from clsuite_docs.methods import names, papers, stores

HEADING = """\
# Methods

{number} methods come with clsuite. Each page has the paper, where ours differs, the arguments, what the method
needs and keeps, and its results on the [boards](../../results.md). They compose with `+` where that makes sense:
`--methods "lwf+replay(capacity=50)"`. The [reading list](../reading-list.md) says where papers on fine-tuning without
forgetting are found in clsuite.
"""
COST = """\
## Cost and figures

- **keeps**: what a method keeps from task to task besides the current weights.
- **trained**: the number of parameters that were trained in a task, the largest of all tasks, with the board.
- **passes**: passes of a test image through the network for one prediction, with T for the number of tasks learned,
  measured on a small stream with the arguments of the quickstart.
- A **board** has the figure that ranks it, last or final accuracy in percent, mean ± half the 95 % interval over
  seeds. It is that of the row with the method's name, otherwise of the best row of the method, whose name is given.
  *In italics*: stale rows; sources that made them have changed since.
"""
TRAINED = "trainable_parameters"


def page() -> str:
    """The whole page."""
    rows = [(_link(name), cell(find_plugin(name)[1].summary)) for name in names()]
    about = table(("method", "what it does"), rows)
    return "\n".join([HEADING.format(number=len(rows)), about, "", COST, costs()]) + "\n"


def costs() -> str:
    """The table of memory, cost and figures."""
    boards = benchmarks()
    headings = ("method", "paper", "keeps", "trained", "passes", *(f"`{board.name}`" for board in boards))
    rows = [(_link(name), *described(name), *(figure(board, name) for board in boards)) for name in names()]
    return table(headings, rows, "lll" + "r" * (2 + len(boards)))


def described(name: str) -> tuple[str, str, str, str]:
    """Paper, memory, trained parameters and passes of a method."""
    source, measured = find_plugin(name)[1], passes.read().get(name)
    return papers(source.traits), stores(source), trained(name), passes.text(measured) if measured else NONE


def trained(name: str) -> str:
    """Trained parameters of a method on the board with the most rows that has it, if possible not the quickstart."""
    boards = sorted(benchmarks(), key=lambda board: (board.name == "quickstart", -len(board.rows)))
    rows = ((board.name, row) for board in boards if (row := row_of(board, name)) is not None)
    return next((f"{number_text(row.mean(TRAINED), 'parameters')} ({board})" for board, row in rows), NONE)


def figure(board: Benchmark, name: str) -> str:
    """The headline of a method on a board, with the row's name where that is another, and in italics if it is stale."""
    row = row_of(board, name)
    if row is None:
        return NONE
    text = row.text(board.headline) + (f" `{row.method}`" if row.method != name else "")
    return f"*{text}*" if row.is_stale else text


def row_of(board: Benchmark, name: str) -> Row | None:
    """The row that stands for a method: the one with its name, else the best of it alone, else the best with it."""
    alone = [row for row in board.rows if row.plugins == [name]]
    beside = [row for row in board.rows if name in row.plugins]
    return board.row(name) or next(iter([*alone, *beside]), None)


def _link(name: str) -> str:
    return f"[`{name}`]({name}.md)"
