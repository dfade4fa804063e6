"""Plots: accuracy matrices as heat maps, quantities over tasks as curves; the same input gives the same bytes.

The file extension selects SVG, PNG or PDF.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from clsuite.errors import harmless
from clsuite.metrics import Counts
from clsuite.metrics.counts import Floats
from clsuite.metrics.variants import accuracy_over_time_all, accuracy_over_time_weighted, forgetting_over_time
from clsuite.records import ProbeEntry, RunRecord, atomic_path
from clsuite.records.order import run_name
from clsuite.report.plot_style import ANY, FROM_ZERO, PERCENT, POINTS, Limits, MethodStyles, best_first
from clsuite.report.summary import summarize

STYLE: Any = {
    "svg.hashsalt": "clsuite",
    "svg.fonttype": "none",
    "font.size": 9,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
PANELS_ACROSS = 3
UNDATED = {"svg": "Date", "png": "Software", "pdf": "CreationDate"}
"""File formats, and the metadata field of each that would depend on the date or on matplotlib's version."""


class ShownFigure(Figure):
    """A figure that notebooks display although pyplot does not manage it."""

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=110, metadata={"Software": None})
        return picture.getvalue()


def plot_matrix(record: RunRecord, path: Path) -> None:
    """Draw a heat map of ``A[i, j]`` in percent; parts that were never learned stay blank.

    Args:
        record: A finished record.
        path: The file to write.
    """
    plot_matrices({run_name(record): [record]}, path)


def plot_matrices(groups: Mapping[str, Sequence[RunRecord]], path: Path) -> None:
    """Write the figure that `matrices_figure` draws.

    Args:
        groups: Finished records of one benchmark, by the title of their panel.
        path: The file to write.
    """
    with style.context(["default", STYLE]):
        write_figure(matrices_figure(groups), path)


def matrices_figure(groups: Mapping[str, Sequence[RunRecord]]) -> ShownFigure:
    """Draw heat maps of ``A[i, j]`` in percent side by side, each the mean of its runs.

    Args:
        groups: Finished records of one benchmark, by the title of their panel.
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
            color = "black" if percent[i, j] > 60 else "white"
            axes.text(j, i, f"{percent[i, j]:.0f}", ha="center", va="center", color=color, fontsize=8)
    axes.set(xticks=range(parts), yticks=range(tasks), xlabel=_part_label(records[0]), ylabel="after learning task")
    axes.set_xticklabels([str(j + 1) for j in range(parts)])
    axes.set_yticklabels([str(i + 1) for i in range(tasks)])
    axes.set_title(title, parse_math=False)
    return image


def plot_curves(records: Sequence[RunRecord], path: Path, title: str) -> None:
    """Plot the accuracy on all classes seen so far after each task: the mean over seeds, with its 95 % interval.

    Args:
        records: Finished records of one benchmark.
        path: The file to write.
        title: Title of the plot.
    """
    label = "accuracy on the classes seen, in %"
    _plot_over_tasks(records, path, title, accuracy_over_time_weighted, label, PERCENT)


def plot_all_parts(records: Sequence[RunRecord], path: Path, title: str) -> None:
    """Plot the mean accuracy on all parts after each task, learned or not: the mean over seeds, with its interval.

    The mean of a line over the tasks is MTIL's Avg, its end MTIL's Last.

    Args:
        records: Finished records of one benchmark.
        path: The file to write.
        title: Title of the plot.
    """
    label = "accuracy on all parts, learned or not, in %"
    _plot_over_tasks(records, path, title, accuracy_over_time_all, label, PERCENT)


def plot_forgetting(records: Sequence[RunRecord], path: Path, title: str) -> None:
    """Plot the forgetting of earlier tasks after each task: the mean over seeds, with its 95 % interval.

    Args:
        records: Finished records of one benchmark.
        path: The file to write.
        title: Title of the plot.
    """
    label = "forgetting of the earlier tasks, in points"
    _plot_over_tasks(records, path, title, forgetting_over_time, label, POINTS)


def _plot_over_tasks(
    records: Sequence[RunRecord],
    path: Path,
    title: str,
    figure_of: Callable[[Counts], Floats],
    label: str,
    limits: Limits,
) -> None:
    by_method: dict[str, list[Any]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        by_method.setdefault(record.method, []).append(100 * figure_of(record.main_counts))
    sign = 1 if limits == PERCENT else -1  # lower forgetting is better
    styles = MethodStyles(
        best_first({m: sign * float(np.mean([c[-1] for c in curves])) for m, curves in by_method.items()})
    )
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        lines = {method: styles.draw(axes, method, by_method[method], limits) for method in styles.order}
        axes.set(xlabel="tasks learned", ylabel=label)
        axes.set_title(styles.titled(title), fontsize="large" if styles.bands else "medium")
        if limits == PERCENT:
            axes.set_ylim(*PERCENT if styles.bands else _tens(lines.values()))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        styles.legend(figure, lines)
        write_figure(figure, path)


def plot_probes(records: Sequence[RunRecord], path: Path, title: str) -> None:
    """Plot the values of all probes before the stream and after each task: one panel per probe, the mean over seeds.

    Missing values are skipped, and the line continues to the next point; a method without values has no line.

    If there are many methods, those with the best final accuracy are in color.

    Args:
        records: Finished records of one benchmark, some of them with probes.
        path: The SVG file to write.
        title: Title of the plot.
    """
    names = sorted({probe.name for record in records for probe in record.probes})
    styles = MethodStyles([row.method for row in summarize(records).rows])
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(1.6 + 3.2 * len(names), 3.6), layout="constrained")
        lines: dict[str, Line2D] = {}
        for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
            lines |= _probe_panel(axes, name, records, styles)
        styles.legend(figure, lines)
        figure.suptitle(styles.titled(title, " by final accuracy"))
        write_figure(figure, path)


def _tens(lines: Iterable[Line2D]) -> Limits:
    """The range of the lines within 0 to 100, rounded to tens, so that the plot has room for many of them."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in lines])
    low, high = 10 * np.floor(np.nanmin(values) / 10), 10 * np.ceil(np.nanmax(values) / 10)
    return max(0.0, float(low)), min(100.0, max(float(high), float(low) + 10))


def _probe_panel(axes: Axes, name: str, records: Sequence[RunRecord], styles: MethodStyles) -> dict[str, Line2D]:
    read: dict[str, list[ProbeEntry]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        read.setdefault(record.method, []).extend(probe for probe in record.probes if probe.name == name)
    probes = [probe for group in read.values() for probe in group]
    share = any(probe.correct is not None for probe in probes)
    signed = any(value < 0 for probe in probes for value in probe.values if value is not None)
    limits = PERCENT if share else ANY if signed else FROM_ZERO
    axes.set(xlabel="tasks learned", ylabel=f"{name}, in %" if share else name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return {
        method: styles.draw(axes, method, [(100 if share else 1) * np.array(probe.values, dtype=float)
                                          for probe in read[method]], limits, start=0)
        for method in styles.order if any(probe.was_read for probe in read[method])
    }  # fmt: skip


def _grows(record: RunRecord) -> bool:
    """Whether parts are unknown before they are learned: true unless all classes are known from the start.

    With an open vocabulary they are known by their names, unless only seen classes compete.
    """
    if record.counts is not None and record.counts.open_vocabulary and record.protocol != "class_incremental":
        return False
    scenario = record.config.get("scenario")
    over = scenario.get("over") if isinstance(scenario, dict) else None
    return record.scenario.kind != "domain_incremental" and over != "domains"


def _part_label(record: RunRecord) -> str:
    return "evaluation part" if record.scenario.part_names else "test part of task"


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure; its bytes depend only on what it shows.

    Control characters in foreign names are escaped, because they would make an SVG unreadable.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(harmless(text.get_text()))
    form = path.suffix.lower().removeprefix(".")
    content = BytesIO()
    figure.savefig(content, format=form, metadata={UNDATED[form]: None}, dpi=200)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
