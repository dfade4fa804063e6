"""Plots: accuracy matrices as heat maps, figures over tasks as curves; the same input gives the same bytes.

The ending of the file says whether it is SVG, PNG or PDF.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from clsuite.metrics import Counts, mean_interval
from clsuite.metrics.counts import Floats
from clsuite.metrics.variants import accuracy_over_time_weighted, forgetting_over_time
from clsuite.records import RunRecord, atomic_path

STYLE: Any = {
    "svg.hashsalt": "clsuite",
    "svg.fonttype": "none",
    "font.size": 9,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
PANELS_ACROSS = 3
MARKERS = "os^Dv<>P*X"
"""Ten, as the colours are; after ten lines each colour takes the next marker."""
UNDATED = {"svg": "Date", "png": "Software", "pdf": "CreationDate"}
"""Formats, and what matplotlib would write into each that changes from day to day or version to version."""


class ShownFigure(Figure):
    """A figure that notebooks show although pyplot knows nothing of it."""

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=110, metadata={"Software": None})
        return picture.getvalue()


def plot_matrix(record: RunRecord, path: Path) -> None:
    """Heat map of ``A[i, j]`` in per cent; what was never learned stays blank.

    Args:
        record: A finished record.
        path: The file to write.
    """
    plot_matrices({f"{record.method}, seed {record.seed}": [record]}, path)


def plot_matrices(groups: Mapping[str, Sequence[RunRecord]], path: Path) -> None:
    """Write the figure of `matrices_figure`.

    Args:
        groups: Finished records of one benchmark by the title of their panel.
        path: The file to write.
    """
    with style.context(["default", STYLE]):
        write_figure(matrices_figure(groups), path)


def matrices_figure(groups: Mapping[str, Sequence[RunRecord]]) -> ShownFigure:
    """Heat maps of ``A[i, j]`` in per cent side by side, each the mean of its runs.

    Args:
        groups: Finished records of one benchmark by the title of their panel.
    """
    shapes = [records[0].main_counts.accuracy.shape for records in groups.values()]
    tasks, parts = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
    across = min(len(groups), PANELS_ACROSS)
    down = -(-len(groups) // across)
    with style.context(["default", STYLE]):
        figure = ShownFigure(
            figsize=(0.9 + across * (0.7 + 0.5 * parts), down * (1.2 + 0.45 * tasks)), layout="constrained"
        )
        panels = figure.subplots(down, across, squeeze=False).flatten()
        for axes, (title, records) in zip(panels, groups.items(), strict=False):
            image = _heat_map(axes, title, records)
        for axes in panels[len(groups) :]:
            axes.remove()
        figure.colorbar(image, ax=panels[: len(groups)], label="accuracy in %")
        return figure


def _heat_map(axes: Axes, title: str, records: Sequence[RunRecord]) -> AxesImage:
    counts = records[0].main_counts
    same = [record.main_counts for record in records if record.main_counts.accuracy.shape == counts.accuracy.shape]
    percent = 100 * np.mean([other.accuracy for other in same], axis=0)
    tasks, parts = percent.shape
    unknown = np.arange(tasks)[:, None] < counts.learned
    shown = np.ma.masked_where(unknown, percent) if _grows(records[0]) else percent
    image = axes.imshow(shown, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    for i, j in np.ndindex(tasks, parts):
        if not np.ma.is_masked(shown[i, j]):
            colour = "black" if percent[i, j] > 60 else "white"
            axes.text(j, i, f"{percent[i, j]:.0f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set(xticks=range(parts), yticks=range(tasks), xlabel=_part_label(records[0]), ylabel="after learning task")
    axes.set_xticklabels([str(j + 1) for j in range(parts)])
    axes.set_yticklabels([str(i + 1) for i in range(tasks)])
    axes.set_title(title, parse_math=False)
    return image


def plot_curves(records: Sequence[RunRecord], path: Path, title: str) -> None:
    """Accuracy on all classes seen so far after each task: the mean over seeds, with its 95 % interval as a band.

    Args:
        records: Finished records of one benchmark.
        path: The file to write.
        title: Title of the plot.
    """
    label = "accuracy on the classes seen, in %"
    _plot_over_tasks(records, path, title, accuracy_over_time_weighted, label, best_first=True)


def plot_forgetting(records: Sequence[RunRecord], path: Path, title: str) -> None:
    """Forgetting of the earlier tasks after each task: the mean over seeds, with its 95 % interval as a band.

    Args:
        records: Finished records of one benchmark.
        path: The file to write.
        title: Title of the plot.
    """
    label = "forgetting of the earlier tasks, in points"
    _plot_over_tasks(records, path, title, forgetting_over_time, label, best_first=False)


def _plot_over_tasks(
    records: Sequence[RunRecord],
    path: Path,
    title: str,
    figure_of: Callable[[Counts], Floats],
    label: str,
    best_first: bool,
) -> None:
    by_method: dict[str, list[Any]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        by_method.setdefault(record.method, []).append(100 * figure_of(record.main_counts))
    last = {method: float(np.mean([curve[-1] for curve in curves])) for method, curves in by_method.items()}
    order = sorted(by_method, key=lambda method: (-last[method] if best_first else last[method], method))
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(6.4, _height(4.0, len(order))), layout="constrained")
        axes = figure.subplots()
        lines = [_curve(axes, by_method[method], position) for position, method in enumerate(order)]
        axes.set(xlabel="tasks learned", ylabel=label, title=title)
        if best_first:
            axes.set_ylim(0, 100)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(figure, dict(zip(order, lines, strict=True)))
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
        figure = Figure(figsize=(1.6 + 3.2 * len(names), _height(3.4, len(methods))), layout="constrained")
        lines: dict[str, Line2D] = {}
        for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
            for position, method in enumerate(methods):
                read = [p for r in records if r.method == method for p in r.probes if p.name == name]
                if read:
                    scale = 100 if read[0].correct is not None else 1
                    lines[method] = _curve(axes, [scale * np.array(p.values) for p in read], position, start=0)
            share = any(p.correct is not None for r in records for p in r.probes if p.name == name)
            axes.set(xlabel="tasks learned", ylabel=f"{name}, in %" if share else name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(figure, lines)
        figure.suptitle(title)
        write_figure(figure, path)


def _height(least: float, entries: int) -> float:
    """Inches that a legend of so many lines needs, and at least the given ones."""
    return max(least, 0.6 + 0.2 * entries)


def _legend(figure: Figure, lines: Mapping[str, Line2D]) -> None:
    """The name of every line; matplotlib leaves out those that begin with ``_``, so that they begin with a blank."""
    labels = [f" {name}" if name.startswith("_") else name for name in lines]
    figure.legend(list(lines.values()), labels, loc="outside right upper", frameon=False)


def _curve(axes: Axes, curves: list[Any], position: int, start: int = 1) -> Line2D:
    curves = [curve for curve in curves if len(curve) == len(curves[0])]
    steps = np.arange(len(curves[0])) + start
    summary = np.array([mean_interval([float(curve[step - start]) for curve in curves]) for step in steps])
    colour, marker = f"C{position % 10}", MARKERS[(position + position // 10) % 10]
    (line,) = axes.plot(steps, summary[:, 0], color=colour, marker=marker, markersize=4)
    if len(curves) > 1:
        low, high = summary[:, 0] - summary[:, 1], summary[:, 0] + summary[:, 1]
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    return line


def _grows(record: RunRecord) -> bool:
    """Whether a part cannot be known before it is learned: all kinds but those whose classes are all there at once."""
    return record.scenario.kind != "domain_incremental"


def _part_label(record: RunRecord) -> str:
    return "evaluation part" if record.scenario.part_names else "test part of task"


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure whose bytes follow from what it shows alone."""
    form = path.suffix.lower().removeprefix(".")
    content = BytesIO()
    figure.savefig(content, format=form, metadata={UNDATED[form]: None}, dpi=200)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
