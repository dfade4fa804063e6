"""The sensitivity of modules as a heat map of blocks and kinds, and as a CSV file of all distances."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, style
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from clsuite.metrics.sensitivity import OUTSIDE, Between, Move, blocks_of, by_kind, mean_sensitivity
from clsuite.records import atomic_path
from clsuite.report.plots import STYLE, write_figure


def plot_sensitivity(moves: Sequence[Move], path: Path, title: str) -> None:
    """Draw heat maps of the mean sensitivity: between epochs, between tasks, between models, where there are several.

    Args:
        moves: The changes that were measured.
        path: The file to write.
        title: Title of the plot.
    """
    shown: list[Between] = [between for between in ("epochs", "tasks", "models") if mean_sensitivity(moves, between)]
    blocks = blocks_of(move.site for move in moves)
    kinds = len({move.site[1] for move in moves})
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(2.8 + 0.55 * len(blocks), len(shown) * (0.8 + 0.32 * kinds)), layout="constrained")
        for axes, between in zip(np.atleast_1d(figure.subplots(len(shown), 1)), shown, strict=True):
            image = _heat_map(axes, moves, between, blocks)
            figure.colorbar(image, ax=axes, label="mean |change| of a parameter")
        figure.suptitle(title, parse_math=False)
        write_figure(figure, path)


def _heat_map(axes: Any, moves: Sequence[Move], between: Between, blocks: list[str]) -> Any:
    values, kinds = mean_sensitivity(moves, between), list(by_kind(moves, between))
    grid = np.array([[values.get((block, kind), np.nan) for block in blocks] for kind in kinds])
    positive = grid[grid > 0]
    norm = LogNorm(positive.min(), positive.max()) if len(positive) and positive.min() < positive.max() else None
    colors = colormaps["viridis"].with_extremes(bad="white")
    image = axes.imshow(np.ma.masked_where(~(grid > 0), grid), norm=norm, cmap=colors, aspect="auto")
    axes.set(xticks=range(len(blocks)), yticks=range(len(kinds)), xlabel="block", title=f"between {between}")
    axes.set_xticklabels(["outside" if block == OUTSIDE else block for block in blocks])
    axes.set_yticklabels(kinds)
    return image


def write_moves(moves: Mapping[str, Sequence[Move]], path: Path) -> None:
    """Write one line per module and pair of moments; where there are several runs, with the name of the run."""
    several = len(moves) > 1
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        names = ["between", "task", "epoch", "block", "kind", "parameters", "distance_l1", "sensitivity"]
        writer.writerow([*["run"] * several, *names])
        for run, of_run in moves.items():
            for move in of_run:
                block, kind = move.site
                moved = (f"{move.distance:.9g}", f"{move.sensitivity:.9g}")
                line = [move.between, move.task, move.epoch, block, kind, move.size, *moved]
                writer.writerow([*[run] * several, *line])
