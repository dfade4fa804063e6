"""Times every method on one stream, relative to fine-tuning, in one process.

Run as ``python benchmarks/speed/methods.py``. Every method learns the digits of scikit-learn in five tasks with the
bundled backbone, the same first weights, batch size, epochs and order; one after another, fine-tuning first. Methods
that do not train the backbone compute each image's features once, and must not pay for more.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table

from clsuite.backbones.spec import BackboneSpec, find_weights
from clsuite.backbones.vit import build_backbone
from clsuite.data.datasets import load_table
from clsuite.data.spec import DatasetSpec
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, find_plugin, load_class
from clsuite.runner.methods import parse_method, split_outside
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite.stream.loop import Stream

BASELINE = "finetune"
SMALLER = {
    "acil": "acil(projection=2000)",
    "ds_al": "ds_al(projection=2000)",
    "fly_cl": "fly_cl(projection=2000)",
    "g_acil": "g_acil(projection=2000)",
    "klda": "klda(projection=300)",
    "randumb": "randumb(projection=2000)",
    "block_expansion": "block_expansion(blocks=1)",
    "ranpac": "ranpac(projection=2000)",
    "first_session+ranpac": "first_session+ranpac(projection=2000)",
    "lae": "lae(blocks='all', frozen_epochs=0)",
    "dual_prompt": "dual_prompt(general_blocks='0', expert_blocks='1')",
    "coda_prompt": "coda_prompt(blocks='all')",
    "hide": "hide(blocks='all')",
    "hide_pet": "hide_pet(blocks='all')",
    "pgp": "pet(kind='prompt')+pgp",
}
"""Arguments that suit a stream of 1,257 images (a 10,000-square system takes longer to solve than all of it) and the
bundled backbone, which has two blocks, and what a method stands behind."""

COSINE = frozenset({"duct", "lucir", "rsiat", "ssiat", "tuna"})
"""Methods that refuse to learn without a cosine head."""


@dataclass(frozen=True)
class Timed:
    """What one method took.

    Attributes:
        method: As it is written on the command line.
        total: Seconds from the first task's start to the last evaluation's end.
        training: Of these, in training.
        relative: `total` divided by that of fine-tuning.
        accuracy: Share of the whole test stream that the final model gets right.
        trained: Parameters that were trained in any task.
        stored_bytes: Kept between tasks.
        gradient_samples: Samples that passed backwards.
    """

    method: str
    total: float
    training: float
    relative: float
    accuracy: float
    trained: int
    stored_bytes: int
    gradient_samples: int


class CountTrained(Plugin):
    """Counts the parameters that get gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, int] = {}

    def on_before_optimizer_step(self, trainer: object, pl_module: torch.nn.Module, optimizer: object) -> None:
        """Note the parameters of the step."""
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None:
                self.names[name] = parameter.numel()


def main() -> None:
    """Read the command line, time the methods, show and save the figures."""
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    table = load_table(DatasetSpec(name="digits"), 32)
    scenario = build_scenario(table, ScenarioSpec(tasks=5), seed=0)
    training = TrainingSpec(
        epochs=arguments.epochs,
        optimizer=OptimizerSpec(lr=5e-4, head_lr=3e-3),
        precision="32",
        threads=arguments.threads,
    )
    methods = [BASELINE, *(name for name in timed(arguments.methods) if name != BASELINE)]
    learn(BASELINE, scenario.first(1), training.model_copy(update={"epochs": 1}), 0.0)
    rows: list[Timed] = []
    for method in methods:
        print(f"{method} ...", flush=True)
        rows.append(learn(method, scenario, training, rows[0].total if rows else 0.0))
    _show(rows, arguments.epochs)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The time of every method relative to fine-tuning.")
    parser.add_argument(
        "--methods", type=lambda text: split_outside(text, ","), help='such as "ncm,lwf+replay(capacity=50)"'
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def timed(asked: list[str] | None) -> list[str]:
    """The methods to time, with arguments that suit the stream where none are given.

    Args:
        asked: Methods as on the command line; None takes every registered one.
    """
    return _registered() if asked is None else [SMALLER.get(name, name) for name in asked]


def _registered() -> list[str]:
    """Every registered method that a ViT suffices for."""
    vit = [name for name in sorted(catalog()) if "clip" not in find_plugin(name)[1].traits.requires]
    return [SMALLER.get(name, name) for name in [*vit, "first_session+ranpac", "replay+fpf"]]


def head_of(method: str) -> Literal["linear", "cosine"]:
    """The head that a method learns with: a linear one, unless it refuses to."""
    return "cosine" if COSINE & {use.name for use in parse_method(method).plugins} else "linear"


def learn(method: str, scenario: Scenario, training: TrainingSpec, baseline: float) -> Timed:
    """Learn the stream with one method.

    Args:
        method: Plugins joined by ``+``.
        scenario: The stream.
        training: How tasks are trained.
        baseline: Seconds of fine-tuning; 0 where this is fine-tuning itself.
    """
    plugins = [load_class(catalog()[use.name])(**use.args) for use in parse_method(method).plugins]
    training = training.model_copy(update={"head": head_of(method)})
    counter, spec = CountTrained(), BackboneSpec()
    torch.manual_seed(0)
    learner = Learner(build_backbone(spec, find_weights(spec, [])), training, [*plugins, counter], seed=0)
    stream = Stream(learner, scenario, torch.device("cpu"))
    started = time.perf_counter()
    stream.run()
    total = time.perf_counter() - started
    return Timed(
        method=method,
        total=total,
        training=sum(task.train_seconds for task in stream.tasks),
        relative=total / (baseline or total),
        accuracy=float((stream.matrix.class_incremental[-1] == stream.matrix.labels).mean()),
        trained=sum(counter.names.values()),
        stored_bytes=sum(size for plugin in plugins for size in plugin.stored_bytes().values()),
        gradient_samples=sum(task.gradient_samples for task in stream.tasks),
    )


def _show(rows: list[Timed], epochs: int) -> None:
    table = Table(title=f"digits, 5 tasks, bundled backbone, {epochs} epochs; time relative to {BASELINE}")
    table.add_column("method")
    for heading in ("relative", "total s", "training s", "accuracy %", "trained", "stored bytes", "gradient samples"):
        table.add_column(heading, justify="right")
    for row in rows:
        seconds = f"{row.relative:.2f}", f"{row.total:.2f}", f"{row.training:.2f}"
        numbers = (f"{number:,}" for number in (row.trained, row.stored_bytes, row.gradient_samples))
        table.add_row(row.method, *seconds, f"{100 * row.accuracy:.1f}", *numbers)
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)


if __name__ == "__main__":
    main()
