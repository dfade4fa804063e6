"""`clsuite table` and `clsuite plot`: records as tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from clsuite.cli.console import make_console, table_width
from clsuite.cli.partly import print_unfinished
from clsuite.errors import UserError, did_you_mean, harmless, listed
from clsuite.records import RunRecord, atomic_path
from clsuite.records.curves import LOSS, read_curves
from clsuite.records.order import order_name
from clsuite.report.export import by_benchmark, choose_columns, csv_table, latex_table, markdown_table
from clsuite.report.format import counted
from clsuite.report.gather import gather, newest_of
from clsuite.report.summary import RankBy, summarize
from clsuite.report.table import results_table

FORMATS = (".svg", ".png", ".pdf")
EXPORTS = {"csv": csv_table, "markdown": markdown_table, "latex": latex_table}


def make_table(
    places: Sequence[Path], form: str, columns: Sequence[str], out: Path | None, rank_by: RankBy = "mean"
) -> None:
    """Print or write the table of some records.

    Raises:
        UserError: If a place has no record or a column is unknown.
    """
    records = list(gathered(places).values())
    if rank_by == "worst" and len({order_name(record) for record in records}) < 2:
        raise UserError(
            f"--rank-by worst needs runs of several orders: clsuite bench {records[0].benchmark} --orders 20"
        )
    if form == "text":
        if out is not None:
            raise UserError("-o needs --format csv, markdown or latex")
        console = make_console()
        for benchmark, group in by_benchmark(records).items():
            results = summarize(group, rank_by)
            selected = choose_columns(results.columns, columns) if columns else None
            console.print(results_table(results, benchmark, table_width(console), selected))
        return
    text = harmless(EXPORTS[form](records, columns, rank_by))
    if out is None:
        print(text, end="")
        return
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def make_plot(places: Sequence[Path], kind: str | None, out: Path | None, curve: str | None = None) -> None:
    """Plot some records: by default one as a matrix, several as curves.

    Raises:
        UserError: If the records are of several benchmarks, the file's format is unknown, or there is nothing to plot.
    """
    found = gathered(places)
    records = list(found.values())
    if curve is not None and kind != "loss":
        raise UserError("--curve needs --kind loss")
    kind = kind or ("matrix" if len(records) == 1 else "curve")
    target = out or Path(f"{kind}.svg")
    if target.suffix.lower() not in FORMATS:
        raise UserError(f"-o is '{target}', but must end in {', '.join(FORMATS)}")
    benchmarks = sorted({record.benchmark for record in records})
    if len(benchmarks) > 1:
        raise UserError(f"a plot shows one benchmark, but these are {', '.join(benchmarks)}: name the folder of one")
    if kind == "loss":
        records = _plot_loss(found, target, benchmarks[0], curve or LOSS)
    else:
        _plot(records, kind, target, benchmarks[0])
    make_console().print(f"{kind} of {counted(len(records), 'run')}: {target}", soft_wrap=True)


def _plot(records: list[RunRecord], kind: str, target: Path, title: str) -> None:
    from clsuite.report import plots

    if kind == "probes" and not any(record.probes for record in records):
        raise UserError("none of these records has probes")
    if kind == "matrix":
        plots.plot_matrices(_panels(records), target)
    else:
        draw = {"curve": plots.plot_curves, "forgetting": plots.plot_forgetting, "probes": plots.plot_probes}[kind]
        draw(records, target, title)


def _plot_loss(records: Mapping[Path, RunRecord], target: Path, title: str, name: str) -> list[RunRecord]:
    """Plot the runs that have the curve, and return them; prints the methods of which no run has it."""
    from clsuite.report.training_plot import plot_training

    kept = {path: read_curves(path.with_suffix(".npz")) for path in records}
    names = sorted({label for curves in kept.values() for label in curves})
    if not names:
        places = listed((f"'{path}'" for path in records), at_most=1)
        raise UserError(f"none of these runs kept a loss curve: {places}. Run again, without --curve-points 0")
    if name not in names:
        raise did_you_mean("curve", name, names)
    runs = [(record, kept[path][name]) for path, record in records.items() if name in kept[path]]
    drawn = {record.method for record, _ in runs}
    if without := sorted({record.method for record in records.values()} - drawn):
        message = f"no curve '{name}' of {', '.join(without)}: not trained by steps, or not kept"
        make_console(stderr=True).print(message, soft_wrap=True)
    plot_training(runs, target, title, name)
    return [record for record, _ in runs]


def _panels(records: list[RunRecord]) -> dict[str, list[RunRecord]]:
    groups: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: (record.method, record.seed)):
        groups.setdefault(record.method, []).append(record)
    return {
        f"{method}, seed {group[0].seed}" if len(group) == 1 else f"{method}, mean of {len(group)} seeds": group
        for method, group in groups.items()
    }


def gathered(places: Sequence[Path]) -> dict[Path, RunRecord]:
    """The newest finished records of each method and seed; prints what is left out.

    Raises:
        UserError: If a place has no record, or records do not fit together.
    """
    found = gather(places)
    chosen = newest_of(found, ", ".join(f"'{place}'" for place in places))
    warnings = make_console(stderr=True)
    for line in (*(f"left out, {text}" for text in found.unfinished), *chosen.left_out):
        warnings.print(line, soft_wrap=True)
    print_unfinished(places)
    return chosen.records
