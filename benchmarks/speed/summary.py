"""Shows and saves what was measured."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import Outcome
from rich.console import Console
from rich.table import Table

BARE, FINETUNE, NAIVE = "bare PyTorch", "clsuite finetune", "Avalanche Naive"
REPLAY, AVALANCHE_REPLAY = "clsuite replay", "Avalanche Replay"
LIBRARIES = ("torch", "torchvision", "lightning", "timm", "avalanche-lib")

RATIOS = (
    ("training", FINETUNE, BARE),
    ("evaluation", FINETUNE, BARE),
    ("total", FINETUNE, NAIVE),
    ("training", FINETUNE, NAIVE),
    ("total", REPLAY, AVALANCHE_REPLAY),
    ("training", REPLAY, AVALANCHE_REPLAY),
)
"""Which seconds, of whom, are divided by whose."""


def ratios(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The ratios of those contestants that ran, by a name such as ``total: A / B``."""
    ran = {outcome.name: outcome for outcome in outcomes}
    return {
        f"{what}: {one} / {other}": getattr(ran[one], what) / getattr(ran[other], what)
        for what, one, other in RATIOS
        if one in ran and other in ran
    }


def show(outcomes: Sequence[Outcome], title: str) -> None:
    """Print one row for each contestant, and the ratios."""
    table = Table(title=title)
    table.add_column("contestant")
    for heading in ("total s", "training s", "evaluation s", "steps", "evaluated", "accuracy %", "memory MB"):
        table.add_column(heading, justify="right")
    for outcome in outcomes:
        seconds = (f"{value:.2f}" for value in (outcome.total, outcome.training, outcome.evaluation))
        accuracy, memory = f"{100 * outcome.accuracy:.2f}", f"{outcome.peak_bytes / 1e6:.0f}"
        table.add_row(outcome.name, *seconds, str(outcome.steps), str(outcome.evaluated), accuracy, memory)
    ratio_table = Table("seconds", "ratio")
    for name, ratio in ratios(outcomes).items():
        ratio_table.add_row(name, f"{ratio:.3f}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    console.print(table)
    console.print(ratio_table)


def save(outcomes: Sequence[Outcome], settings: Mapping[str, Any], path: Path) -> None:
    """Write figures, settings and versions as JSON; no path or host name is written."""
    figures = {
        "settings": dict(settings),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "contestants": [asdict(outcome) for outcome in outcomes],
        "ratios": ratios(outcomes),
    }
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
