"""The board as CSV and JSON for other programs, with the same bytes on every machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from clsuite.board.model import Benchmark, Board, Row
from clsuite.board.site.addresses import address
from clsuite.report.export import csv_text
from clsuite.report.summary import Figure


def data_files(board: Board) -> dict[str, bytes]:
    """For each benchmark a CSV of its methods and one of its runs, and one JSON with everything but the matrices."""
    files = {"data/board.json": _json(board)}
    for benchmark in board.benchmarks:
        files[f"data/{address(benchmark.name)}.csv"] = _methods(benchmark)
        files[f"data/{address(benchmark.name)}.seeds.csv"] = _seeds(benchmark)
    return files


def _methods(benchmark: Benchmark) -> bytes:
    names = [metric.name for metric in benchmark.metrics]
    head = ["rank", "rank_low", "rank_high", "bound", "method", "title", "status", "seeds", "same_predictions_as"]
    several = any(row.orders for row in benchmark.rows)
    parts = ("", "_low", "_high", *(("_min", "_median", "_max") if several else ()))
    lines: list[Sequence[Any]] = [[*head, *(f"{name}{part}" for name in names for part in parts)]]
    for row in benchmark.rows:
        figures = [row.figures.get(name) for name in names]
        cells = [value for figure in figures for value in _numbers(figure, several)]
        seeds = " ".join(str(seed) for seed in dict.fromkeys(row.seeds))
        ranks = (row.rank.rank, row.rank.low, row.rank.high) if row.rank else (None,) * 3
        lines.append([
            *ranks, row.bound, row.method, row.title, row.badge, seeds, "; ".join(row.same_as), *cells,
        ])  # fmt: skip
    return _csv(lines)


def _numbers(figure: Figure | None, several: bool) -> list[float | None]:
    """Mean and interval of a figure; with several orders also minimum, median and maximum over them."""
    numbers = [getattr(figure, name, None) for name in ("mean", "low", "high")]
    over = figure.spread if figure else None
    ends = [getattr(over, name, None) for name in ("minimum", "median", "maximum")]
    return [*numbers, *ends] if several else numbers


def _seeds(benchmark: Benchmark) -> bytes:
    names = [metric.name for metric in benchmark.metrics]
    orders = ["order"] if any(run.order for row in benchmark.rows for run in row.runs) else []
    lines: list[Sequence[Any]] = [
        ["method", "seed", *orders, "status", "machine", "precision", "seconds", "record", *names]
    ]
    for row in benchmark.rows:
        for index, run in enumerate(row.runs):
            figures = [figure.values[index] if (figure := row.figures.get(name)) else None for name in names]
            seed = [run.seed, *([run.order] if orders else [])]
            lines.append([row.method, *seed, run.badge, *run.kind, run.seconds, run.record, *figures])
    return _csv(lines)


def _csv(lines: Sequence[Sequence[Any]]) -> bytes:
    return csv_text(lines).encode("utf-8", "replace")


def _json(board: Board) -> bytes:
    """The board as JSON with one line per row, so that diffs show which rows changed."""
    lines = [f'{{"schema_version":{board.schema_version},"benchmarks":[']
    for position, benchmark in enumerate(board.benchmarks):
        head = benchmark.model_dump(mode="json", exclude={"rows"})
        lines.append(f'{_dump(head)[:-1]},"rows":[')
        lines += _joined(_dump(_row(row)) for row in benchmark.rows)
        lines.append("]}" if position == len(board.benchmarks) - 1 else "]},")
    lines.append('],"reported":[')
    lines += _joined(_dump(entry.model_dump(mode="json")) for entry in board.reported)
    return ("\n".join([*lines, "]}"]) + "\n").encode("utf-8", "replace")


def _joined(texts: Iterator[str]) -> list[str]:
    """Texts with a comma after each but the last."""
    lines = list(texts)
    return [f"{line}," for line in lines[:-1]] + lines[-1:]


def _row(row: Row) -> dict[str, Any]:
    """A row without what its records hold (configuration, matrices, environment) and without derived figures."""
    kept = row.model_dump(mode="json", exclude={"config": True, "runs": True, "figures": {"__all__": {"half"}}})
    runs = [
        run.model_dump(mode="json", include={"key", "seed", "record", "badge", "notes", "rerun"}) for run in row.runs
    ]
    return {**kept, "runs": runs}


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
