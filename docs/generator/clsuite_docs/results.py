"""The page of results: every figure and every verdict is computed from the leaderboard's data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clsuite.metrics import LAST
from clsuite_docs.board import (
    AVERAGE,
    AWARE,
    FORGETTING,
    PRIMARY,
    Benchmark,
    Row,
    benchmarks,
    difference,
    share_text,
)
from clsuite_docs.docstrings import cell, table

HEADING = """\
# Results

Every sentence and every figure of this page is computed from the [leaderboard]({board})'s data when the site is built.
Accuracies are in percent, mean ± half the 95 % Student-t interval over the seeds: *last* after the last task on all
test images together, as most class-incremental papers report it, *final* the mean over the test parts, *avg. inc.* the
average incremental accuracy, *task-aware* if the task of each image is given. Class-incremental boards are ranked by
*last*, others by *final*; bounds have no rank. The leaderboard has all columns, every record, and the command that
repeats a row.
"""
STALE = (
    "{stale} of its {number} rows are **stale**: sources that made them have changed since. They are being made again; "
    "until then hold them against each other and not against rows of other boards."
)
ADDED = ("fpf", "replay", "momentum")
"""Plugins whose addition to another method the page looks at."""
SHOWN = 10
"""Rows of a board that the page shows; the leaderboard has all."""


def page(repository: str) -> str:
    """The whole page.

    Args:
        repository: The address of the repository.
    """
    boards = [section(board) for board in benchmarks()]
    return "\n\n".join([HEADING.format(board=f"{repository}/tree/main/leaderboard"), *boards]) + "\n"


def section(board: Benchmark) -> str:
    """One board: what it is, its best rows, what they say."""
    seeds = len(board.seeds)
    parts = [
        f"## {board.name}",
        f"{board.title}. {board.tasks} tasks, backbone `{board.backbone}`, {seeds} seeds, {len(board.rows)} rows.",
    ]
    if board.stale:
        parts.append(STALE.format(stale=board.stale, number=len(board.rows)))
    parts += [_best(board), " ".join(sentences(board))]
    added = [row for plugin in ADDED for row in additions(board, plugin)]
    if added:
        parts += ["What one more plugin changes, paired by seed:", _additions(added)]
    return "\n\n".join(part for part in parts if part)


def sentences(board: Benchmark) -> Iterator[str]:
    """What the rows say, in words."""
    own = [row for row in board.rows if not row.is_bound]
    if own:
        yield f"The best that is not a bound is `{own[0].method}` with {own[0].text(board.headline)}."
    for name, words in (("joint", "training on all data so far"), ("finetune", "fine-tuning with nothing against it")):
        if row := board.row(name):
            yield f"The bound `{name}`, {words}, has {row.text(board.headline)}."
    worst = max(board.rows, key=lambda row: row.mean(FORGETTING))
    yield f"`{worst.method}` forgets most: {worst.text(FORGETTING)}."
    free = [row for row in own if not row.content["tags"]["gradient"]]
    if free:
        yield f"Of those that take no gradient steps `{free[0].method}` is the best: {free[0].text(board.headline)}."
    if lost := _retention(board):
        yield lost


def additions(board: Benchmark, plugin: str) -> Iterator[tuple[str, str, str, str, str]]:
    """Rows with a plugin added, beside those without it."""
    for row in board.rows:
        other, plus, last = row.method.rpartition(" + ")
        before = board.row(other) if plus and last == plugin else None
        if before is not None:
            yield row.method, before.text(PRIMARY), row.text(PRIMARY), *_difference(row, before)


def _difference(first: Row, second: Row) -> tuple[str, str]:
    """The paired difference of two rows, and whether its interval holds zero."""
    mean, half = difference(first, second, PRIMARY)
    if half != half:
        return share_text(mean, half, "+"), "one seed: unknown"
    return share_text(mean, half, "+"), "may be chance" if abs(mean) <= half else "the interval excludes zero"


def _additions(rows: Sequence[tuple[str, str, str, str, str]]) -> str:
    headings = ("with it", "final accuracy without", "with", "difference", "verdict")
    return table(headings, [(cell(row[0]), *row[1:]) for row in rows], "lrrrl")


def _best(board: Benchmark) -> str:
    headings = ("rank", "method", "last", "final", "avg. inc.", "forgetting", "task-aware", "keeps")
    figures = (LAST, PRIMARY, AVERAGE, FORGETTING, AWARE)
    rows = [
        (row.rank, f"{cell(row.content['title'])} `{row.method}`", *(row.text(one) for one in figures), row.stored)
        for row in board.rows[:SHOWN]
    ]
    rest = len(board.rows) - len(rows)
    return table(headings, rows, "rlrrrrrr") + (f"\n\nand {rest} more on the leaderboard." if rest else "")


def _retention(board: Benchmark) -> str:
    """What is left of the pre-training, where a probe of the original head was read."""
    read = [row for row in board.rows if row.values("probe_head")]
    if not read:
        return ""
    best, worst = (pick(read, key=lambda row: row.mean("probe_head")) for pick in (max, min))
    return (
        f"Of the pre-training, read by the original head after the last task, `{best.method}` leaves most "
        f"({best.text('probe_head')}) and `{worst.method}` least ({worst.text('probe_head')})."
    )
