"""`clsuite analyze`: what a run changed in the network, measured by repeating it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from clsuite.api.progress import RunProgress
from clsuite.cli.console import make_console, print_table
from clsuite.errors import UserError
from clsuite.learner.options import TrainingSpec
from clsuite.metrics.sensitivity import OUTSIDE, Between, Move, blocks_of, by_kind, mean_sensitivity
from clsuite.records import RunRecord, read_record
from clsuite.report.fit import TableColumn
from clsuite.report.format import shown
from clsuite.report.sensitivity_plot import plot_sensitivity, write_moves
from clsuite.runner.execute import build_stream
from clsuite.runner.plan import RunPlan
from clsuite.runner.recorded_inputs import NOTHING, Allowed
from clsuite.runner.rerun import plan_from_record
from clsuite.stream.drift import ParameterDrift
from clsuite.stream.loop import Stream


def analyze_sensitivity(
    path: Path,
    out: Path,
    *,
    data_root: Path | None = None,
    weights: Path | None = None,
    device: str = "auto",
    allowed: Allowed = NOTHING,
) -> None:
    """Repeat a record's stream, and print and write how far its modules moved.

    Raises:
        UserError: If the run cannot be repeated, or takes no gradient steps.
    """
    console = make_console()
    record = read_record(path)
    if record.status == "done" and not any(task.steps for task in record.tasks):
        raise UserError(f"'{path}' took no gradient steps: no module moved")
    plan = plan_from_record(path, data_root=data_root, weights=weights, device=device, allowed=allowed)
    movement = ParameterDrift()
    stream = _watched(plan, movement)
    for between in ("epochs", "tasks"):
        if mean_sensitivity(movement.moves, between):
            _print_moves(console, movement.moves, between)
    _say_whether_same(console, record, stream)
    if (optimizer := record.config["training"]["optimizer"]["name"]) != "sgd":
        console.print(
            f"note: {optimizer} takes steps of about one size for every weight; the paper's ranking is of sgd",
            soft_wrap=True,
        )
    plot_sensitivity(movement.moves, out, f"{plan.pending.benchmark}: {plan.name}")
    write_moves(movement.moves, out.with_suffix(".csv"))
    console.print(f"plot and every distance: {out} and {out.with_suffix('.csv')}", soft_wrap=True)


def _watched(plan: RunPlan, movement: ParameterDrift) -> Stream:
    torch.set_num_threads(TrainingSpec.model_validate(plan.pending.config["training"]).threads)
    with RunProgress(make_console(stderr=True)) as bar:
        bar.on_event(plan, {"kind": "start"})
        stream = build_stream(plan, lambda event: bar.on_event(plan, {"kind": "progress", **event}))
        stream.checkpoint_path, stream.observers = None, (movement,)
        stream.run()
    return stream


def _say_whether_same(console: Console, record: RunRecord, stream: Stream) -> None:
    """Print whether the counts are the same: on other hardware or versions they need not be."""
    same = stream.matrix.counts() == record.counts
    result = "to the record's accuracy matrix" if same else "to another accuracy matrix than the record's"
    console.print(f"the run came out {'again ' if same else ''}{result}", style="" if same else "yellow")


def _print_moves(console: Console, moves: Sequence[Move], between: Between) -> None:
    """Print how far each kind of module moved: the mean, and as many of the blocks as fit into the terminal."""
    values, kinds = mean_sensitivity(moves, between), by_kind(moves, between)
    blocks = [block for block in blocks_of(values) if block != OUTSIDE]
    unit = 10.0 ** -len(str(int(1 / max([*values.values(), 1e-12]))))
    columns = [TableColumn("mean", "mean", [_cell(mean, unit) for mean in kinds.values()], 0)]
    for place, block in enumerate(blocks, 1):
        cells = [_cell(values.get((block, kind)), unit) for kind in kinds]
        columns.append(TableColumn(f"block {block}", f"block {block}", cells, place))
    title = f"sensitivity between {between}: mean |change| of a parameter, in units of {unit:.0e}"
    print_table(
        console, title, TableColumn("kind of module", "kind of module", [shown(kind) for kind in kinds]), columns
    )


def _cell(value: float | None, unit: float) -> str:
    return "" if value is None else f"{value / unit:.3g}"
