"""Plot of the accuracy within tasks: a panel for each method, a line for each evaluation part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, style
from matplotlib.figure import Figure

from clsuite.metrics import Curves
from clsuite.records import RunRecord
from clsuite.records.order import run_name
from clsuite.report.plots import STYLE, write_figure


def plot_within_task(records: Sequence[RunRecord], path: Path, title: str) -> None:
    """Plot the accuracy on each part from its own task on, over the steps of the stream, for the first seed of methods.

    A task without steps is drawn as if it had one step.

    Args:
        records: Finished records of one benchmark, some of them with curves.
        path: The SVG file to write.
        title: Title of the plot.
    """
    first: dict[str, RunRecord] = {}
    for record in sorted(records, key=lambda record: (record.method, record.seed)):
        if record.within_task is not None:
            first.setdefault(record.method, record)
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(7.2, 0.9 + 1.9 * len(first)), layout="constrained")
        panels = np.atleast_1d(figure.subplots(len(first), 1))
        for axes, record in zip(panels, first.values(), strict=True):
            assert record.main_curves is not None
            _panel(axes, record.main_curves)
            axes.set_title(run_name(record), fontsize=9)
        panels[-1].set_xlabel("optimizer steps of the stream; lines: a task ends")
        figure.supylabel("accuracy in %, a color for each part", fontsize=9)
        figure.suptitle(title)
        write_figure(figure, path)


def _panel(axes: Any, curves: Curves) -> None:
    times = [np.maximum(steps, 1) if steps[-1] == 0 else steps for steps in curves.steps]
    ends = np.cumsum([steps[-1] for steps in times])
    starts = [0, *ends[:-1].tolist()]
    for part, learned in enumerate(curves.learned.tolist()):
        tasks = range(learned, curves.tasks)
        steps = np.concatenate([starts[task] + times[task] for task in tasks])
        percent = np.concatenate([100 * curves.accuracy(task)[:, part] for task in tasks])
        color = colormaps["viridis"](part / max(1, len(curves.n) - 1))
        axes.plot(steps, percent, color=color, linewidth=1, marker=".", markersize=2)
    for end in ends[:-1].tolist():
        axes.axvline(end, color="0.6", linewidth=0.6, linestyle=":")
    axes.set_ylim(0, 100)
