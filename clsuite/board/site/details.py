"""Data for the page's script: details of rows, and the values by which tables are sorted and filtered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clsuite.board.model import Benchmark, Board, Row, Run
from clsuite.board.site.addresses import address, record_link
from clsuite.board.site.columns import table_columns
from clsuite.board.site.text import NONE, half_text, same_text, unit_text, value_text
from clsuite.metrics import Column
from clsuite.report.probe_columns import PROBE, is_probe


def script(function: str, *arguments: Any) -> bytes:
    """A script that passes data to the page's script, because a page opened from a file may load scripts but not JSON.

    All characters but ASCII are escaped, and so is ``<``, so that the data cannot end the string or the script.
    """
    texts = [json.dumps(argument, sort_keys=True, separators=(",", ":"), allow_nan=False) for argument in arguments]
    return f"clsuite.{function}({','.join(texts)});\n".replace("<", "\\u003c").encode()


def detail_key(benchmark: str, method: str) -> str:
    """The key of a row's details: their file below ``details/``, without its extension."""
    return f"{address(benchmark)}/{address(method)}"


def row_details(board: Board, benchmark: Benchmark, row: Row) -> dict[str, Any]:
    """All details of a row."""
    return {
        "figures": [_figure(row, column) for column in table_columns(benchmark)],
        "plugins": [
            {"name": plugin.name, "args": plugin.args, "summary": plugin.summary, "papers": list(plugin.papers.items()),
             "distribution": plugin.distribution}
            for plugin in row.plugins
        ],
        "shares": [m.name.removeprefix(PROBE) for m in benchmark.metrics if m.unit == "share"],
        "probes": {m.name.removeprefix(PROBE): m.label for m in benchmark.metrics if is_probe(m)},
        "seeds": row.seeds, "config": row.config, "runs": [_run(board, run) for run in row.runs],
        "same": same_text(row),
    }  # fmt: skip


def _figure(row: Row, column: Column) -> list[Any]:
    figure, unit = row.figures.get(column.name), column.unit
    heading = [column.label, column.arrow, unit_text(column), column.about, column.formula, column.source]
    if figure is None:
        return [*heading, NONE, "", []]
    values = [value_text(value, unit) for value in figure.values]
    return [*heading, value_text(figure.mean, unit), half_text(figure, column), values]


def _run(board: Board, run: Run) -> dict[str, Any]:
    return {
        **({"name": run.name} if run.order else {}),
        "seed": run.seed, "badge": run.badge, "status": board.badges.get(run.badge, run.badge), "notes": run.notes,
        "rerun": run.rerun.model_dump() if run.rerun else None, "command": run.command,
        "machine": run.machine, "precision": run.kind[1],
        "seconds": value_text(run.seconds, "seconds"), "record": record_link(run.record), "tasks": run.tasks,
        "parts": run.parts, "initial": _rounded(run.initial), "accuracy": [_rounded(line) for line in run.accuracy],
        "learned": run.learned, "over_tasks": _rounded(run.over_tasks),
        "probes": {name: _rounded(values) for name, values in run.probes.items()},
        "stored_bytes": run.stored_bytes, "environment": run.environment,
    }  # fmt: skip


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 4) for value in values]


def table_data(benchmark: Benchmark, columns: Sequence[Column], rest: Sequence[str]) -> Mapping[str, Any]:
    """The values by which the rows of a board are sorted and filtered, in the order of the rows.

    Args:
        benchmark: The board.
        columns: The columns of its table.
        rest: The markup of the rows that are not in the page yet.
    """
    rows = benchmark.rows
    keys: dict[str, list[Any]] = {
        column.name: [figure.mean if (figure := row.figures.get(column.name)) else None for row in rows]
        for column in columns
    }
    keys["rank"] = list(range(len(rows)))  # the order of the board, in which bounds have a place but no rank
    keys["method"] = [row.title.casefold() for row in rows]
    keys["status"] = [row.badge for row in rows]
    words = [
        " ".join(
            [row.title, row.method, *(f"{plugin.name} {' '.join(plugin.papers)}" for plugin in row.plugins)]
        ).lower()
        for row in rows
    ]
    return {
        "keys": keys, "ids": [f"row-{address(row.method)}" for row in rows], "words": words, "rest": rest,
        "exemplars": [row.tags.exemplars for row in rows], "task_id": [row.tags.task_id for row in rows],
        "backbone": [row.tags.backbone for row in rows], "pet": [row.tags.pet for row in rows],
        "years": [row.tags.years for row in rows],
    }  # fmt: skip
