"""Measures how often a test image passes the network: ``python docs/generator/measure_passes.py [--write] [NAME ...]``.

Each method learns three tasks of two digits in as few steps as it can, with the arguments that the quickstart gives it.
What was measured is kept in ``passes.json``, so that the site is built without training; a slow test measures it again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray

from clsuite.conformance.fixtures import make_backbone, make_options, make_scenario
from clsuite.conformance.prediction import predict, test_rows
from clsuite.learner.learner import Learner
from clsuite.learner.options import TrainingSpec
from clsuite.peft.blocks import transformer_blocks
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, load_class
from clsuite.runner.methods import MethodSpec, parse_method
from clsuite.runner.spec import load_benchmark
from clsuite.stream.loop import Stream
from clsuite_docs import methods, passes

IMAGES = 4
"""Test images that are looked at; where a method decides for each image how often it passes, the most often counts."""
SHORT = {"epochs": 1, "batch_size": 32}
"""One step of each task: how well it is learned is not measured."""


@dataclass
class CountingStream(Stream):
    """A stream that counts passes after each task, when it has been evaluated.

    Attributes:
        passes: The most passes of any of the images, after each task.
    """

    passes: list[float] = field(default_factory=list)

    def _evaluate(self, learner: Learner, trainer: L.Trainer, row: int) -> None:
        super()._evaluate(learner, trainer, row)
        if row:
            rows = test_rows(self.scenario)
            images = self.scenario.table.images[rows[:: len(rows) // IMAGES][:IMAGES]]
            self.passes.append(max(passes_of(learner, image) for image in images))


def passes_of(learner: Learner, image: NDArray[np.uint8]) -> float:
    """Passes of one stored image through the network for its prediction; one through half of the blocks is a half."""
    blocks, seen = transformer_blocks(learner.backbone.model), list[int]()
    handles = [
        block.mlp.fc1.register_forward_hook(lambda _, given, out: seen.append(len(given[0]))) for block in blocks
    ]
    try:
        predict(learner, image[None])
    finally:
        for handle in handles:
            handle.remove()
    return round(sum(seen) / len(blocks), 3)


def measured(name: str) -> list[float]:
    """Passes of a test image after each of three tasks.

    Args:
        name: A shipped method.
    """
    row = on_the_quickstart(name)
    plugins = [load_class(catalog()[use.name])(**use.args) for use in row.plugins]
    needed = [need for plugin in plugins for need in plugin.traits.requires]
    learner = Learner(make_backbone(needed), options_of(row, plugins), plugins, seed=0)
    stream = CountingStream(learner, make_scenario("class_incremental"), torch.device("cpu"))
    stream.run()
    return stream.passes


def on_the_quickstart(name: str) -> MethodSpec:
    """A method as the quickstart has it, with as few other plugins as possible; alone if it has no row there."""
    spec, _ = load_benchmark("quickstart")
    rows = {**spec.methods, **spec.more_methods}
    with_it = [row for row in rows.values() if name in [use.name for use in row.plugins]]
    alone = [rows[name]] if name in rows else sorted(with_it, key=lambda row: len(row.plugins))
    return next(iter(alone), parse_method(name))


def options_of(row: MethodSpec, plugins: Sequence[Plugin]) -> TrainingSpec:
    """What a method needs of the training, in as few steps as possible."""
    training = {key: value for key, value in row.training.items() if key != "optimizer"}
    counts_epochs = any("epochs" in argument for use in row.plugins for argument in use.args)
    training = {**SHORT, **training} if counts_epochs else {**training, **SHORT}
    return make_options({key: value for plugin in plugins for key, value in plugin.traits.training.items()} | training)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the methods that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what was measured")
    parser.add_argument("names", nargs="*", help="names of methods; all by default")
    given = parser.parse_args(arguments)
    known = dict(passes.read()) if given.names else {}
    for name in given.names or methods.names():
        known[name] = measured(name)
        print(f"{name}: {known[name]}", flush=True)
    if given.write:
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known))
        passes.FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
