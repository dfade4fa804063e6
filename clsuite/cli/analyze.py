"""`clsuite analyze`: what runs changed in the network, measured by repeating them or from their saved models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from clsuite.api.progress import RunProgress
from clsuite.cli.console import make_console, print_table
from clsuite.errors import UserError
from clsuite.learner.options import TrainingSpec
from clsuite.metrics.sensitivity import OUTSIDE, Between, Move, blocks_of, by_kind, mean_sensitivity, moves_of
from clsuite.records import RunRecord, read_record
from clsuite.report.fit import TableColumn
from clsuite.report.format import shown
from clsuite.report.sensitivity_plot import plot_sensitivity, write_moves
from clsuite.runner.execute import build_stream
from clsuite.runner.model_file import saved_weights
from clsuite.runner.plan import RunPlan
from clsuite.runner.recorded_inputs import NOTHING, Allowed
from clsuite.runner.rerun import plan_from_record
from clsuite.stream.drift import ParameterDrift, distances
from clsuite.stream.loop import Stream

TITLES: Mapping[Between, str] = {
    "epochs": "sensitivity between epochs: mean |change|",
    "tasks": "sensitivity between tasks: mean |change|",
    "models": "distance between models: mean |difference|",
}
"""What tables are called, by what lies between."""


def analyze_sensitivity(
    paths: Sequence[Path],
    out: Path,
    *,
    data_root: Path | None = None,
    weights: Path | None = None,
    device: str = "auto",
    allowed: Allowed = NOTHING,
) -> None:
    """Repeat the streams of some records, and print and write how far their modules moved, the mean of all.

    Raises:
        UserError: If a run cannot be repeated, or takes no gradient steps.
    """
    console = make_console()
    records = [read_record(path) for path in paths]
    for path, record in zip(paths, records, strict=True):
        if record.status == "done" and not any(task.steps for task in record.tasks):
            raise UserError(f"'{path}' took no gradient steps, so no parameter has changed")
    given: dict[str, Any] = {"data_root": data_root, "weights": weights, "device": device, "allowed": allowed}
    plans = [plan_from_record(path, **given) for path in paths]
    moves: dict[str, list[Move]] = {}
    for record, plan in zip(records, plans, strict=True):
        movement = ParameterDrift()
        stream = _watched(plan, movement)
        moves[_unused(f"{plan.pending.benchmark}: {plan.name}", moves)] = movement.moves
        _say_whether_same(console, record, stream, plan.name if len(paths) > 1 else "the run")
    _show(console, moves, out)
    for optimizer in sorted({record.config["training"]["optimizer"]["name"] for record in records} - {"sgd"}):
        console.print(
            f"note: {optimizer} takes steps of about one size for every weight; the paper's ranking is of sgd",
            soft_wrap=True,
        )


def analyze_distance(paths: Sequence[Path], out: Path) -> None:
    """Show and write how far the saved models of some runs are apart, module by module.

    Raises:
        UserError: If there are fewer than two, one has no saved model, or two have no weight in common.
    """
    if len(paths) < 2:
        raise UserError("analyze distance compares models: give the records of two runs or more")
    console = make_console()
    models: dict[str, dict[str, torch.Tensor]] = {}
    for path in paths:
        record = read_record(path.with_suffix(".json"))
        models[_unused(f"{record.benchmark}: {record.method}, seed {record.seed}", models)] = saved_weights(path)
    moves: dict[str, list[Move]] = {}
    for number, (one, other) in enumerate(combinations(models, 2)):
        shared = distances(models[one], models[other])
        if not shared:
            raise UserError(f"'{one}' and '{other}' have no weight in common")
        moves[f"{one} and {other}"] = moves_of(shared, "models", number, 0)
    _show(console, moves, out)
    _print_pairs(console, moves)


def _print_pairs(console: Console, moves: Mapping[str, Sequence[Move]]) -> None:
    """Print the distance of each two models over all weights that they share."""
    totals = [(sum(one.distance for one in pair), sum(one.size for one in pair)) for pair in moves.values()]
    columns = [
        TableColumn("distance", "mean |difference|", [f"{distance / size:.3g}" for distance, size in totals], 0),
        TableColumn("parameters", "shared parameters", [str(size) for _, size in totals], 1),
    ]
    first = TableColumn("models", "models", [shown(name) for name in moves])
    print_table(console, "distance of two models over all parameters that both have", first, columns)


def _unused(name: str, known: Collection[str]) -> str:
    """A name that is not known yet."""
    return name if name not in known else _unused(f"{name} (again)", known)


def _show(console: Console, moves: Mapping[str, Sequence[Move]], out: Path) -> None:
    """Print, plot and write moves of some runs."""
    everything = [move for of_run in moves.values() for move in of_run]
    for between in TITLES:
        if mean_sensitivity(everything, between):
            _print_moves(console, everything, between)
    plot_sensitivity(everything, out, next(iter(moves)) if len(moves) == 1 else f"mean of {len(moves)}")
    write_moves(moves, out.with_suffix(".csv"))
    console.print(f"plot and every distance: {out} and {out.with_suffix('.csv')}", soft_wrap=True)


def _watched(plan: RunPlan, movement: ParameterDrift) -> Stream:
    torch.set_num_threads(TrainingSpec.model_validate(plan.pending.config["training"]).threads)
    with RunProgress(make_console(stderr=True)) as bar:
        bar.on_event(plan, {"kind": "start"})
        stream = build_stream(plan, lambda event: bar.on_event(plan, {"kind": "progress", **event}))
        stream.checkpoint_path, stream.observers = None, (movement,)
        stream.run()
    return stream


def _say_whether_same(console: Console, record: RunRecord, stream: Stream, run: str) -> None:
    """Print whether the counts are the same: on other hardware or versions they need not be."""
    same = stream.matrix.counts() == record.counts
    result = "to the record's accuracy matrix" if same else "to another accuracy matrix than the record's"
    console.print(f"{run} came out {'again ' if same else ''}{result}", style="" if same else "yellow")


def _print_moves(console: Console, moves: Sequence[Move], between: Between) -> None:
    """Print how far each kind of module moved: the mean, and as many of the blocks as fit into the terminal."""
    values, kinds = mean_sensitivity(moves, between), by_kind(moves, between)
    blocks = [block for block in blocks_of(values) if block != OUTSIDE]
    unit = 10.0 ** -len(str(int(1 / max([*values.values(), 1e-12]))))
    columns = [TableColumn("mean", "mean", [_cell(mean, unit) for mean in kinds.values()], 0)]
    for place, block in enumerate(blocks, 1):
        cells = [_cell(values.get((block, kind)), unit) for kind in kinds]
        columns.append(TableColumn(f"block {block}", f"block {block}", cells, place))
    title = f"{TITLES[between]} of a parameter, in units of {unit:.0e}"
    print_table(
        console, title, TableColumn("kind of module", "kind of module", [shown(kind) for kind in kinds]), columns
    )


def _cell(value: float | None, unit: float) -> str:
    return "" if value is None else f"{value / unit:.3g}"
