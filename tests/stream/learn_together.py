"""Learns with some methods as one of several processes, and prints what came of it: RANK NUMBER FILE METHODS."""

from __future__ import annotations

import json
import os
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from every_hook import EveryHook
from small_methods import SMALL
from torch import distributed

from clsuite.conformance.fixtures import make_resnet, make_scenario
from clsuite.conformance.plugin_under_test import subject_of
from clsuite.conformance.runs import make_learner
from clsuite.errors import UserError
from clsuite.learner.learner import Learner, Step
from clsuite.learner.together import Together
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, load_class
from clsuite.stream.loop import Stream


class OwnDraws(Plugin):
    """Draws from the system, so that each process has weights of its own."""

    def on_task_start(self, learner: Learner, task: Any) -> None:
        """Change a weight at random."""
        with torch.no_grad():
            next(learner.head.parameters()).add_(int.from_bytes(os.urandom(2), "little") / 1e5)


class Contrast(Plugin):
    """A loss that compares all samples of a batch with one another."""

    def loss(self, learner: Learner, step: Step) -> torch.Tensor | None:
        """The spread of the similarities."""
        return torch.logsumexp(step.features @ step.features.T / 100, dim=1).var()


OWN: dict[str, type[Plugin]] = {"own_draws": OwnDraws, "contrast": Contrast, "every_hook": EveryHook}


def make_stream(method: str, together: Together | None, folder: Path) -> Stream:
    subjects = []
    for name in method.partition(":")[0].split("+"):
        cls = OWN[name] if name in OWN else load_class(catalog()[name])
        subjects.append(subject_of(partial(cls, **SMALL.get(name, {})), cls, name))
    training = {"augment": "crop_flip", "accumulate": 2 if method.endswith(":accumulate") else 1}
    backbone = make_resnet if method.endswith(":resnet") else None
    learner = make_learner(subjects, [one.make() for one in subjects], training, backbone)
    learner.together = together
    scenario = make_scenario("class_incremental").first(2)
    return Stream(learner, scenario, torch.device("cpu"), folder / f"{method}.ckpt", "test")


def learn(method: str, together: Together | None, folder: Path) -> dict[str, Any]:
    """Two tasks; then the second one again, from the state after the first."""
    stream = make_stream(method, together, folder)
    encoded: list[int] = []
    stream.learner.backbone.register_forward_hook(
        lambda module, args, output: encoded.append(len(output)) if module.training else None
    )
    stream.run()
    again = make_stream(method, together, folder)
    again.run()
    return {
        "counts": stream.matrix.counts().class_incremental,
        "again": again.matrix.counts().class_incremental,
        "losses": [task.final_loss for task in stream.tasks],
        "largest": max(encoded, default=0),
    }


def main(rank: int, number: int, file: Path, methods: list[str]) -> None:
    """Meet the others and learn."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    together = None
    if number > 1:
        distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=number)
        together = Together(rank, number)
    for method in methods:
        try:
            seen = learn(method, together, file.parent)
        except (UserError, RuntimeError) as error:
            seen = {"refused": str(error)}
        print(json.dumps({"method": method, **seen}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
