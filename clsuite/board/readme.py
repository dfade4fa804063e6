"""The leaderboard as one Markdown page, which hosting sites show beside the code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from clsuite.board.model import Benchmark, Board, Reported, Row
from clsuite.board.site.addresses import address
from clsuite.board.site.columns import first_columns
from clsuite.board.site.text import (
    NONE,
    ONE_SEED,
    half_text,
    kinds_text,
    place_text,
    same_text,
    source_text,
    stale_text,
    status_text,
    unit_text,
    value_text,
)
from clsuite.metrics import NOTATION, Column
from clsuite.report.export import markdown_lines, markdown_text
from clsuite.runner.file_names import file_name

ROWS_SHOWN = 60
HEADING = "# Leaderboard"
DESCRIPTIONS = """\
`clsuite leaderboard build` computes every figure on this page from the run records in [`records/`](records) and from
nothing else. `clsuite leaderboard check --folder .` computes all of it again and fails if a byte differs or a row is
missing. Run the commands in this folder: `--folder .` and `--plugins-from .` refer to it.

- **Browse the results**: open [`site/index.html`](site/index.html) of a checkout in a browser; it needs no server.
  There you can sort and filter rows, and open each one for its accuracy matrix, learning curve, configuration and
  command.
- **Download the figures** as CSV or JSON: [`data/`](data).
- **Repeat a run**: `clsuite leaderboard rerun BENCHMARK/METHOD/SEED --folder . --data-root DATA` runs it again from its
  record and compares all counts. On the same kind of machine they must be identical; on another kind, the final
  accuracy must agree within 1 point and every entry of the matrix within 5.
- **Check a stale row**: `clsuite leaderboard confirm METHOD --folder .` runs the method twice on a short canary
  benchmark: with the sources that produced the row, from the repository's history, and with the current sources. If all
  counts are equal, the row is current again until the next change.
- **Add a row**: run `clsuite bench BENCHMARK --methods METHOD --out RUNS`, then
  `clsuite leaderboard add RUNS/BENCHMARK/METHOD --folder .` and `clsuite leaderboard build --folder .`. If the method
  is a file, `add --plugins-from FOLDER` publishes the file with the row.
- **Repeat a row whose method is a file**: its source is published beside its record. Read it, then run
  `clsuite leaderboard rerun ROW --folder . --plugins-from .`. clsuite's `docs/security.md` says what only a rerun can
  prove.

Accuracies are percentages, given as the mean ± half the width of the 95 % Student-t interval over seeds. The best value
of a column, bounds such as joint training left out, is bold if one direction is better (↑ higher, ↓ lower) and rows
differ. [What each column means](#what-the-columns-mean) is explained below. Methods have the names that papers use, and
link to their records, whose folder has the name that commands use. Ranks are by the first column of figures: on
class-incremental streams the accuracy on all test images together, which papers call last accuracy; on others the mean
over the test parts. They have a 95 % interval from a paired bootstrap over the seeds that were run; 3 (3-3) means that
hardly any draw of seeds changes the rank. Bounds, such as joint training, have no rank. Overlapping rank intervals do
not decide whether two methods differ. Use `clsuite compare METHOD OTHER --runs records/BENCHMARK`, which gives a paired
interval and an exact test.
"""


def readme(board: Board) -> bytes:
    """Make the page."""
    lines = [HEADING, "", DESCRIPTIONS]
    for benchmark in board.benchmarks:
        lines += [*_benchmark(benchmark), ""]
    lines += (
        [*_columns(board), "", *_badges(board), "", *_running_times(board), ""]
        if board.benchmarks
        else ["Nothing has been published yet.", ""]
    )
    if board.reported:
        lines += [*_reported(board.reported), ""]
    return ("\n".join(lines).rstrip("\n") + "\n").encode("utf-8", "replace")


def _benchmark(benchmark: Benchmark) -> Iterator[str]:
    columns = first_columns(benchmark)
    yield f"## {markdown_text(benchmark.name)}"
    yield ""
    title = f"{markdown_text(benchmark.title)}. " if benchmark.title else ""
    kind, name = markdown_text(benchmark.kind.replace("_", "-")), address(benchmark.name)
    yield (
        f"{title}{kind.capitalize()}, {benchmark.tasks} tasks, backbone {markdown_text(benchmark.backbone)}; "
        f"[page](site/boards/{name}.html), [CSV](data/{name}.csv)"
    )
    yield ""
    if stale := stale_text(benchmark):
        yield stale
        yield ""
    head = ["rank", "method", *(_heading(column) for column in columns), "seeds", "status"]
    body = [_line(benchmark, row, columns) for row in benchmark.rows[:ROWS_SHOWN]]
    yield from markdown_lines(head, body, left=(1, len(head) - 1))
    if len(benchmark.rows) > ROWS_SHOWN:
        yield ""
        yield f"{len(benchmark.rows) - ROWS_SHOWN} more rows are on the page and in the CSV."
    if any(row.rank is not None and row.rank.low is None for row in benchmark.rows[:ROWS_SHOWN]):
        yield ""
        yield f"({ONE_SEED}): the rank of a row with one seed has no interval, so its uncertainty is unknown."
    if (number := len(benchmark.kinds)) > 1:
        yield ""
        where = "listed [below](#machines-and-running-times)"
        yield kinds_text(number, where)


def _heading(column: Column) -> str:
    return " ".join(part for part in (markdown_text(column.label), unit_text(column), column.arrow) if part)


def _line(benchmark: Benchmark, row: Row, columns: Sequence[Column]) -> list[str]:
    folder = quote(f"records/{benchmark.name}/{file_name(row.method)}", errors="replace")
    same = f" ({markdown_text(same_text(row))})" if row.same_as else ""
    return [
        place_text(row),
        f"[{markdown_text(row.title)}]({folder}){same}",
        *(_figure(row, column) for column in columns),
        str(len({*row.seeds})),
        status_text(row),
    ]


def _figure(row: Row, column: Column) -> str:
    figure = row.figures.get(column.name)
    if figure is None:
        return NONE
    half = half_text(figure, column)
    text = value_text(figure.mean, column.unit) + (f" ± {half}" if half else "")
    return f"**{text}**" if figure.best else text


def _columns(board: Board) -> Iterator[str]:
    """The columns of all tables; equal ones are listed once."""
    yield "## What the columns mean"
    yield ""
    shown = [column for benchmark in board.benchmarks for column in first_columns(benchmark)]
    for column in {(column.label, column.about): column for column in shown}.values():
        formula = f" `{column.formula}` {markdown_text(source_text(column))}" if column.formula else ""
        yield f"- **{markdown_text(column.label)}**: {markdown_text(column.about)}{formula}".rstrip()
    yield ""
    rest = "Each board's page explains the columns of the CSV that are not shown here."
    yield f"{markdown_text(NOTATION)} {rest}"


def _badges(board: Board) -> Iterator[str]:
    yield "## What the status means"
    yield ""
    for kind, meaning in board.badges.items():
        yield f"- {kind}: {meaning}"


def _running_times(board: Board) -> Iterator[str]:
    yield "## Machines and running times"
    yield ""
    body = []
    for benchmark in board.benchmarks:
        runs = [run for row in benchmark.rows for run in row.runs]
        for machine, precision in benchmark.kinds:
            seconds = [run.seconds for run in runs if run.kind == (machine, precision)]
            cells = (markdown_text(benchmark.name), str(len(seconds)), markdown_text(machine), markdown_text(precision))
            body.append([*cells, f"{math.fsum(seconds) / 3600:.2f}"])
    yield from markdown_lines(["benchmark", "runs", "machine", "precision", "hours"], body, left=(0, 2, 3))


def _reported(reported: Sequence[Reported]) -> Iterator[str]:
    yield "## Reported by papers, not measured here"
    yield ""
    yield "Weights, streams and metrics differ from ours and from each other, so these figures have no rank."
    yield ""
    body = []
    for item in reported:
        figures = ", ".join(f"{name} {value}" for name, value in item.figures.items())
        cells = [
            markdown_text(cell)
            for cell in (item.method, item.stream, figures, item.weights, item.protocol, item.source)
        ]
        if item.address:
            cells[-1] = f"[{cells[-1]}]({item.address})"
        cells[-1] += " (second hand)" * item.second_hand
        body.append(cells)
    head = ["method", "stream", "figures", "weights", "protocol", "source"]
    yield from markdown_lines(head, body, left=range(len(head)))
