"""Plots as SVG: accuracy matrices as heat maps, accuracy over tasks as curves; the same input gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clsuite.metrics import mean_interval
from clsuite.metrics.variants import accuracy_over_time_weighted
from clsuite.records import RunRecord, atomic_path

STYLE: Any = {
    "svg.hashsalt": "clsuite",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def plot_matrix(record: RunRecord, path: Path) -> None:
    """Heat map of ``A[i, j]`` in per cent; what was never learned stays blank.

    Args:
        record: A finished record.
        path: The SVG file to write.
    """
    assert record.counts is not None
    counts = record.main_counts
    percent = 100 * counts.accuracy
    tasks, parts = percent.shape
    unknown = np.arange(tasks)[:, None] < counts.learned
    shown = np.ma.masked_where(unknown, percent) if _grows(record) else percent
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(1.6 + 0.5 * parts, 1.2 + 0.45 * tasks), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(shown, vmin=0, vmax=100, cmap="viridis", aspect="auto")
        for i, j in np.ndindex(tasks, parts):
            if not np.ma.is_masked(shown[i, j]):
                colour = "black" if percent[i, j] > 60 else "white"
                axes.text(j, i, f"{percent[i, j]:.0f}", ha="center", va="center", color=colour, fontsize=8)
        axes.set(xticks=range(parts), yticks=range(tasks), xlabel=_part_label(record), ylabel="after learning task")
        axes.set_xticklabels([str(j + 1) for j in range(parts)])
        axes.set_yticklabels([str(i + 1) for i in range(tasks)])
        axes.set_title(f"{record.method}, seed {record.seed}")
        figure.colorbar(image, label="accuracy in %")
        write_figure(figure, path)


def plot_curves(records: Sequence[RunRecord], path: Path, title: str) -> None:
    """Accuracy on all classes seen so far after each task: the mean over seeds, with its 95 % interval as a band.

    Args:
        records: Finished records of one benchmark.
        path: The SVG file to write.
        title: Title of the plot.
    """
    by_method: dict[str, list[Any]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        assert record.counts is not None
        curve = 100 * accuracy_over_time_weighted(record.main_counts)
        by_method.setdefault(record.method, []).append(curve)
    order = sorted(by_method, key=lambda method: (-float(np.mean([curve[-1] for curve in by_method[method]])), method))
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for position, method in enumerate(order):
            _curve(axes, method, by_method[method], position)
        axes.set(xlabel="tasks learned", ylabel="accuracy on the classes seen, in %", ylim=(0, 100), title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside right upper", frameon=False)
        write_figure(figure, path)


def plot_probes(records: Sequence[RunRecord], path: Path, title: str) -> None:
    """What every probe read before the stream and after each task: a panel a probe, the mean over seeds a method.

    Args:
        records: Finished records of one benchmark, some of them with probes.
        path: The SVG file to write.
        title: Title of the plot.
    """
    names = sorted({probe.name for record in records for probe in record.probes})
    methods = sorted({record.method for record in records})
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(1.6 + 3.2 * len(names), 3.4), layout="constrained")
        for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
            for position, method in enumerate(methods):
                read = [p for r in records if r.method == method for p in r.probes if p.name == name]
                if read:
                    scale = 100 if read[0].correct is not None else 1
                    _curve(axes, method, [scale * np.array(probe.values) for probe in read], position, start=0)
            share = any(p.correct is not None for r in records for p in r.probes if p.name == name)
            axes.set(xlabel="tasks learned", ylabel=f"{name}, in %" if share else name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
        figure.suptitle(title)
        write_figure(figure, path)


def _curve(axes: Any, method: str, curves: list[Any], position: int, start: int = 1) -> None:
    curves = [curve for curve in curves if len(curve) == len(curves[0])]
    steps = np.arange(len(curves[0])) + start
    summary = np.array([mean_interval([float(curve[step - start]) for curve in curves]) for step in steps])
    colour, marker = f"C{position % 10}", "os^Dv<>P*X"[position % 10]
    axes.plot(steps, summary[:, 0], color=colour, marker=marker, markersize=4, label=method)
    if len(curves) > 1:
        low, high = summary[:, 0] - summary[:, 1], summary[:, 0] + summary[:, 1]
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)


def _grows(record: RunRecord) -> bool:
    """Whether a part cannot be known before it is learned: all kinds but those whose classes are all there at once."""
    return record.scenario.kind != "domain_incremental"


def _part_label(record: RunRecord) -> str:
    return "evaluation part" if record.scenario.part_names else "test part of task"


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure whose bytes follow from what it shows alone."""
    content = BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
