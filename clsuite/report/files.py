"""What a benchmark leaves beside its records: a summary CSV, heat maps and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from clsuite.records import RunRecord, atomic_path
from clsuite.report.export import csv_head, csv_line, csv_text
from clsuite.report.plots import plot_curves, plot_matrix, plot_probes
from clsuite.report.summary import columns_of, summarise
from clsuite.report.within_task_plot import plot_within_task


def write_report(folder: Path, title: str, records: Mapping[Path, RunRecord]) -> list[Path]:
    """Write the summary and the plots.

    Args:
        folder: Folder of the benchmark.
        title: Title of the curves.
        records: Finished records by their path; the heat map of each goes beside it.

    Returns:
        The files for people to look at first.
    """
    finished = list(records.values())
    write_csv(finished, folder / "summary.csv")
    plot_curves(finished, folder / "accuracy.svg", title)
    for path, record in records.items():
        target = path.with_suffix(".svg")
        if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
            plot_matrix(record, target)
    shown = [folder / "summary.csv", folder / "accuracy.svg"]
    if any(record.probes for record in finished):
        plot_probes(finished, folder / "probes.svg", title)
        shown.append(folder / "probes.svg")
    if any(record.within_task for record in finished):
        plot_within_task(finished, folder / "within_task.svg", title)
        shown.append(folder / "within_task.svg")
    return shown


def write_csv(records: Sequence[RunRecord], path: Path) -> None:
    """One line per method: mean and half-width of the 95 % interval of every figure, as fractions."""
    rows, columns = summarise(records), columns_of(records)
    text = csv_text([csv_head(columns), *(csv_line(row, columns) for row in rows)])
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
