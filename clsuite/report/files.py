"""The files that a benchmark writes beside its records: a CSV summary, heat maps and curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from clsuite.errors import UserError
from clsuite.records import RunRecord, atomic_path
from clsuite.report.export import csv_lines, csv_text
from clsuite.report.plots import plot_all_parts, plot_curves, plot_matrix, plot_probes
from clsuite.report.summary import RankBy, judged_by, summarize
from clsuite.report.within_task_plot import plot_within_task


def write_report(
    folder: Path, title: str, records: Mapping[Path, RunRecord], rank_by: RankBy = "mean"
) -> tuple[list[Path], list[str]]:
    """Write the summary and the plots; an error in one of them does not affect the others.

    Args:
        folder: Folder of the benchmark.
        title: Title of the curves.
        records: Finished records by their path; the heat map of each is written beside it.
        rank_by: How the lines of the summary are ordered; see `summarize`.

    Returns:
        The most important files, and a line for each reason why others could not be written.
    """
    finished = list(records.values())
    writers: dict[Path, Callable[[Path], None]] = {
        folder / "summary.csv": lambda path: write_csv(finished, path, rank_by),
        folder / "accuracy.svg": lambda path: plot_curves(finished, path, title),
    }
    if judged_by(finished):
        writers[folder / "all_parts.svg"] = lambda path: plot_all_parts(finished, path, title)
    if any(record.probes for record in finished):
        writers[folder / "probes.svg"] = lambda path: plot_probes(finished, path, title)
    if any(record.within_task for record in finished):
        writers[folder / "within_task.svg"] = lambda path: plot_within_task(finished, path, title)
    shown = list(writers)
    for place, record in records.items():
        target = place.with_suffix(".svg")
        if not is_newer(target, place):
            writers[target] = partial(plot_matrix, record)
    problems: dict[Path, str] = {}
    for path, write in writers.items():
        try:
            write(path)
        except UserError as error:
            problems[path] = str(error)
    return [path for path in shown if path not in problems], list(problems.values())


def is_newer(path: Path, than: Path) -> bool:
    """Whether a file exists and is not older than another one."""
    try:
        return path.is_file() and path.stat().st_mtime >= than.stat().st_mtime
    except OSError:
        return False


def write_csv(records: Sequence[RunRecord], path: Path, rank_by: RankBy = "mean") -> None:
    """Write one line per method: mean and half-width of the 95 % interval of every column, as fractions."""
    results = summarize(records, rank_by)
    text = csv_text(csv_lines(results.rows, list(results.columns.values())))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
