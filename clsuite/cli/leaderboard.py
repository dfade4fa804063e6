"""`clsuite leaderboard`: publishes records, makes the pages, sees that nothing is wrong, stale or gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from clsuite.cli.console import make_console
from clsuite.cli.data_progress import loading_bar
from clsuite.errors import UserError


def add(places: Sequence[Path], folder: Path, data_root: Path | None, replace: bool, stale: bool) -> int:
    """Publish records; returns 1 if one was refused.

    Raises:
        UserError: If a place is not there, or what is published is not as it should be.
    """
    from clsuite.board.publish import add_records
    from clsuite.board.shelf import Leaderboard
    from clsuite.board.streams import Streams

    console, warnings = make_console(), make_console(stderr=True)
    streams = Streams(data_root)
    with loading_bar(warnings):
        outcomes = add_records(places, Leaderboard(folder), replace, stale, streams.complaint)
    for one in outcomes:
        what = one.name or str(one.path)
        if one.verdict == "refused":
            warnings.print(f"refused: {what}: {one.reason} (see {one.path})", soft_wrap=True, markup=False)
        else:
            reason = f": {one.reason}" if one.reason else ""
            console.print(f"{one.verdict}: {what}{reason}", soft_wrap=True, markup=False)
    for benchmark, reason in sorted(streams.unchecked.items()):
        warnings.print(f"note: streams of {benchmark} were not compared with the data: {reason}", soft_wrap=True)
    numbers = Counter(one.verdict for one in outcomes)
    if not outcomes:
        raise UserError(f"no record in {', '.join(repr(str(place)) for place in places)}")
    summary = ", ".join(f"{number} {verdict}" for verdict, number in sorted(numbers.items()))
    console.print(f"{summary}; now: clsuite leaderboard build --folder {folder}", soft_wrap=True, markup=False)
    return 1 if numbers["refused"] else 0


def build(folder: Path, drop: Sequence[str]) -> int:
    """Make everything that is made from the records.

    Raises:
        UserError: If a record is not as it should be, or a row was lost.
    """
    from clsuite.board import shelf

    board, changed = shelf.build(shelf.Leaderboard(folder), drop)
    methods = sum(len(benchmark.rows) for benchmark in board.benchmarks)
    runs = sum(len(row.runs) for benchmark in board.benchmarks for row in benchmark.rows)
    make_console().print(
        f"{len(board.benchmarks)} benchmarks, {methods} rows, {runs} records, {len(board.reported)} reported figures; "
        f"{changed} files changed: {folder / 'README.md'}, {folder / 'site' / 'index.html'}",
        soft_wrap=True, markup=False,
    )  # fmt: skip
    return 0


def check(folder: Path) -> int:
    """See that what is published is what the records give; returns 1 with a line for each thing that is not."""
    from clsuite.board import shelf

    try:
        problems = shelf.check(shelf.Leaderboard(folder))
    except UserError as error:
        problems = str(error).splitlines()
    for line in problems:
        make_console(stderr=True).print(line, soft_wrap=True, markup=False)
    if not problems:
        make_console().print(f"{folder}: every file is what the records give, and no row is lost", markup=False)
    return 1 if problems else 0
