"""Plot of training curves: the loss over the steps of all tasks, in one color per method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from clsuite.records import RunRecord
from clsuite.records.curves import TrainingCurve
from clsuite.report.plot_style import GRAY, MethodStyles
from clsuite.report.plots import STYLE, write_figure
from clsuite.report.summary import summarize


def plot_training(runs: Sequence[tuple[RunRecord, TrainingCurve]], path: Path, title: str, name: str) -> None:
    """Draw a line for each run over the tasks; all tasks have equal width, and dotted lines separate them.

    If there are many methods, those with the best final accuracy are in color.

    Args:
        runs: Finished records of one benchmark, each with its curve.
        path: The file to write.
        title: Title of the plot.
        name: Name of the curve.
    """
    styles = MethodStyles([row.method for row in summarize([record for record, _ in runs]).rows])
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        axes = figure.subplots()
        lines: dict[str, Line2D] = {}
        for record, curve in sorted(runs, key=lambda run: (run[0].method, run[0].seed)):
            lines.setdefault(record.method, _draw(axes, styles, record, curve))
        tasks = max(record.main_counts.tasks for record, _ in runs)
        for end in range(1, tasks):
            axes.axvline(end, color="0.6", linewidth=0.6, linestyle=":")
        axes.set(xlabel="tasks learned; dotted: a task ends", ylabel=f"{name}, mean of some steps", xlim=(0, tasks))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title if not styles.others else styles.titled(title, " by final accuracy"))
        styles.legend(figure, lines)
        write_figure(figure, path)


def _draw(axes: Axes, styles: MethodStyles, record: RunRecord, curve: TrainingCurve) -> Line2D:
    """Draw the curve of a run, interrupted at the end of each task."""
    steps = np.array([max(task.steps, 1) for task in record.tasks])
    there = (curve.task >= 0) & (curve.task < len(steps))
    task, values = curve.task[there], curve.value[there].astype(float)
    times = task + curve.step[there] / steps[task]
    ends = np.flatnonzero(np.diff(task)) + 1
    position = list(styles.order).index(record.method)
    color = f"C{position}" if record.method in styles.named else GRAY
    (line,) = axes.plot(
        np.insert(times, ends, np.nan), np.insert(values, ends, np.nan), color=color, linewidth=0.9, marker=".",
        markersize=2,
    )  # fmt: skip
    return line
