"""`clsuite table` and `clsuite plot`: records as tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clsuite.cli.console import make_console
from clsuite.errors import UserError, harmless
from clsuite.records import RunRecord, atomic_path
from clsuite.report.export import by_benchmark, choose_columns, csv_table, latex_table, markdown_table
from clsuite.report.gather import Gathered, gather, refuse_unlike
from clsuite.report.summary import summarise
from clsuite.report.table import rich_table

FORMATS = (".svg", ".png", ".pdf")
EXPORTS = {"csv": csv_table, "markdown": markdown_table, "latex": latex_table}


def make_table(places: Sequence[Path], form: str, columns: Sequence[str], out: Path | None) -> None:
    """Print or write the table of some records.

    Raises:
        UserError: If a place holds no record or a column is unknown.
    """
    records = _gather(places)
    if form == "text":
        if out is not None:
            raise UserError("-o needs --format csv, markdown or latex")
        for benchmark, group in by_benchmark(records).items():
            make_console().print(rich_table(summarise(group), choose_columns(group, columns), benchmark))
        return
    text = harmless(EXPORTS[form](records, columns))
    if out is None:
        print(text, end="")
        return
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def make_plot(places: Sequence[Path], kind: str | None, out: Path | None) -> None:
    """Plot some records: by default one as a matrix, several as curves.

    Raises:
        UserError: If the records are of several benchmarks, the file's format is unknown, or there is nothing to plot.
    """
    records = _gather(places)
    kind = kind or ("matrix" if len(records) == 1 else "curve")
    target = out or Path(f"{kind}.svg")
    if target.suffix.lower() not in FORMATS:
        raise UserError(f"-o is '{target}', but must end in {', '.join(FORMATS)}")
    benchmarks = sorted({record.benchmark for record in records})
    if len(benchmarks) > 1:
        raise UserError(f"a plot shows one benchmark, and these are {', '.join(benchmarks)}: name the folder of one")
    _plot(records, kind, target, benchmarks[0])
    make_console().print(f"{kind} of {len(records)} runs: {target}", soft_wrap=True)


def _plot(records: list[RunRecord], kind: str, target: Path, title: str) -> None:
    from clsuite.report import plots

    if kind == "probes" and not any(record.probes for record in records):
        raise UserError("none of these records has probes")
    if kind == "matrix":
        plots.plot_matrices(_panels(records), target)
    else:
        draw = {"curve": plots.plot_curves, "forgetting": plots.plot_forgetting, "probes": plots.plot_probes}[kind]
        draw(records, target, title)


def _panels(records: list[RunRecord]) -> dict[str, list[RunRecord]]:
    groups: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: (record.method, record.seed)):
        groups.setdefault(record.method, []).append(record)
    return {
        f"{method}, seed {group[0].seed}" if len(group) == 1 else f"{method}, mean of {len(group)} seeds": group
        for method, group in groups.items()
    }


def _gather(places: Sequence[Path]) -> list[RunRecord]:
    found: Gathered = gather(places)
    warnings = make_console(stderr=True)
    for line in found.unfinished:
        warnings.print(f"left out, {line}", soft_wrap=True)
    refuse_unlike(found.records, ", ".join(f"'{place}'" for place in places))
    return list(found.records.values())
