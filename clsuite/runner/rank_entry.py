"""What a process begins with that learns a run together with others, and is not the first of them.

A module of its own, for it builds the run's stream, which itself starts the others.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import torch

from clsuite.learner.options import TrainingSpec
from clsuite.learner.together import Together
from clsuite.runner.execute import build_stream
from clsuite.runner.plan import RunPlan
from clsuite.runner.ranks import meet


def main(rank: int, folder: Path) -> None:
    """Learn as another process than the first."""
    with (folder / f"{rank}.plan").open("rb") as file:
        sys.path[:] = pickle.load(file)
        plan: RunPlan = pickle.load(file)
    torch.set_num_threads(TrainingSpec.model_validate(plan.pending.config["training"]).threads)
    stream = build_stream(plan, lambda event: None)
    meet(stream.device, rank, plan.devices, folder)
    stream.learner.together = Together(rank, plan.devices)
    stream.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
