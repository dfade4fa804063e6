"""How fast one device trains a ViT: a bare PyTorch loop against clsuite, and the share of time spent on data.

python benchmarks/speed/gpu.py
python benchmarks/speed/gpu.py --device cpu --model vit_tiny_patch16_224 --image-size 32 --batch-size 4 --steps 4
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from clsuite.backbones.spec import BackboneSpec, Weights
from clsuite.backbones.vit import Backbone, build_backbone
from clsuite.data import on_device
from clsuite.data.table import ImageTable
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec, TrainingSpec
from clsuite.learner.precision import autocast
from clsuite.plugin.catalog import catalog, load_class
from clsuite.scenarios import Scenario, ScenarioSpec, build_scenario
from clsuite.stream.loop import Stream
from clsuite.stream.trainer import find_device

CLASSES = 10
WARM_UP = 3
"""Steps that are not counted: kernels are chosen, and memory is taken."""


@dataclass(frozen=True)
class Rate:
    """What was measured.

    Attributes:
        name: The contestant.
        images_per_second: Of training, after the first steps.
        waiting: Share of that time between the end of a step's work and the start of the next one's: fetching,
            moving and normalizing the batch, and everything else that is no training step.
    """

    name: str
    images_per_second: float
    waiting: float


class Clock:
    """Moments on a device: when its work came to them, not when Python did."""

    def __init__(self, device: torch.device) -> None:
        """Nothing is noted yet."""
        self._device = device
        self.ends: list[Any] = []
        self.starts: list[Any] = []

    def now(self) -> Any:
        """This moment."""
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def rate(self, name: str, batch_size: int) -> Rate:
        """Images a second, and the share of waiting, after the first steps."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        ends, starts = self.ends[WARM_UP:], self.starts[WARM_UP + 1 :]
        waited = sum(self._between(end, start) for end, start in zip(ends, starts, strict=False))
        whole = self._between(ends[0], ends[-1])
        return Rate(name, batch_size * (len(ends) - 1) / whole, waited / whole)

    def _between(self, first: Any, second: Any) -> float:
        """Seconds."""
        return float(first.elapsed_time(second)) / 1000 if self._device.type == "cuda" else float(second - first)


class Watch(L.Callback):
    """Notes when steps of clsuite start and end."""

    def __init__(self, clock: Clock) -> None:
        """Note on a clock."""
        self._clock = clock

    def on_train_batch_start(self, *_: Any) -> None:
        """A batch is there."""
        self._clock.starts.append(self._clock.now())

    def on_train_batch_end(self, *_: Any) -> None:
        """Its step is taken."""
        self._clock.ends.append(self._clock.now())


def make_stream(images: int, side: int) -> Scenario:
    """A stream of one task: so many training images, all of noise."""
    number = images + CLASSES
    rows = np.arange(number)
    table = ImageTable(
        images=np.random.RandomState(0).randint(0, 256, (number, 3, side, side), dtype=np.uint8),
        labels=rows % CLASSES,
        domains=np.zeros(number, dtype=np.int64),
        is_test=rows >= images,
        digests=np.frombuffer(rows.astype("<u8").tobytes() * 2, np.uint8).reshape(number, 16),
        classes=tuple(map(str, range(CLASSES))),
        domain_names=("",),
    )
    return build_scenario(table, ScenarioSpec(tasks=1), seed=0)


def run_bare(backbone: Backbone, scenario: Scenario, options: TrainingSpec, device: torch.device) -> Rate:
    """The yardstick: all images on the device, plain PyTorch."""
    clock, task = Clock(device), scenario.tasks[0]
    model = nn.Sequential(backbone.model, nn.Linear(backbone.width, CLASSES)).to(device).train()
    mean, std = backbone.normalize.mean.to(device), backbone.normalize.std.to(device)
    images = torch.from_numpy(scenario.table.images).to(device)
    labels = torch.from_numpy(scenario.labels).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.optimizer.lr, fused=True)
    for rows in torch.from_numpy(task.train).to(device).split(options.batch_size):
        batch = (images[rows].float() - mean) / std
        clock.starts.append(clock.now())
        optimizer.zero_grad()
        with autocast(options.precision, device):
            loss = F.cross_entropy(model(batch).float(), labels[rows])
        loss.backward()
        optimizer.step()
        clock.ends.append(clock.now())
    return clock.rate("bare PyTorch, images on the device", options.batch_size)


def run_clsuite(name: str, backbone: Backbone, scenario: Scenario, options: TrainingSpec, device: torch.device) -> Rate:
    """Fine-tuning as a benchmark runs it."""
    clock = Clock(device)
    learner = Learner(backbone, options, [load_class(catalog()["finetune"])()], seed=0)
    Stream(learner, scenario, device, observers=[Watch(clock)]).run()
    return clock.rate(name, options.batch_size)


def compare(given: argparse.Namespace) -> list[Rate]:
    """Run all contestants, one after another."""
    device = find_device(given.device)
    scenario = make_stream(given.batch_size * given.steps, given.image_size)
    options = TrainingSpec(
        batch_size=given.batch_size, precision=given.precision, optimizer=OptimizerSpec(lr=1e-4), threads=given.threads
    )
    torch.set_num_threads(given.threads)
    backbone = build_backbone(BackboneSpec(name=given.model, image_size=given.image_size), Weights("random"))
    rates = [run_bare(copy.deepcopy(backbone), scenario, options, device)]
    rates.append(run_clsuite("clsuite finetune", copy.deepcopy(backbone), scenario, options, device))
    if on_device.kept_bytes(device):
        another = make_stream(given.batch_size * given.steps, given.image_size)
        on_device.SHARE = 0.0  # as if nothing fitted
        rates.append(run_clsuite("clsuite finetune, images read ahead", backbone, another, options, device))
    return rates


def show(rates: Sequence[Rate], title: str) -> None:
    """Print a table."""
    table = Table("contestant", "images/s", "of bare", "waits", title=title)
    for rate in rates:
        of_bare = rate.images_per_second / rates[0].images_per_second
        table.add_row(rate.name, f"{rate.images_per_second:,.1f}", f"{of_bare:.2f}", f"{rate.waiting:.1%}")
    Console().print(table)


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, measure, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N, mps or cpu")
    parser.add_argument("--model", default="vit_base_patch16_224", help="timm's name; the weights are random")
    parser.add_argument("--image-size", type=int, default=224, help="side in pixels")
    parser.add_argument("--precision", default="bf16", choices=["auto", "32", "bf16", "16"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=60, help=f"more than {WARM_UP + 1}")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args(words)
    if given.steps <= WARM_UP + 1:
        parser.error(f"--steps is {given.steps}, but {WARM_UP} are not counted: take at least {WARM_UP + 2}")
    rates = compare(given)
    show(rates, f"{given.model}, {given.image_size} px, {given.precision}, batches of {given.batch_size}")
    if given.json:
        given.json.write_text(json.dumps([asdict(rate) for rate in rates], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
