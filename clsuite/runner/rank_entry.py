"""The entry point of the processes that train a run together with the first one.

It is a separate module because it builds the run's stream, whose module itself starts these processes.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from pathlib import Path

import torch

from clsuite.learner.options import TrainingSpec
from clsuite.learner.together import Together
from clsuite.runner.execute import build_stream
from clsuite.runner.plan import RunPlan
from clsuite.runner.ranks import LOOK_AGAIN, meet, ready


def main(rank: int, folder: Path, first: int) -> None:
    """Train as a process other than the first.

    Args:
        rank: Number of this process.
        folder: Where the plan is, and where the processes meet.
        first: Process ID of the first process.
    """
    threading.Thread(target=_end_with, args=(first,), daemon=True).start()
    with (folder / f"{rank}.plan").open("rb") as file:
        sys.path[:] = pickle.load(file)
        plan: RunPlan = pickle.load(file)
    torch.set_num_threads(TrainingSpec.model_validate(plan.pending.config["training"]).threads)
    stream = build_stream(plan, lambda event: None)
    ready(folder, rank).touch()
    meet(stream.device, rank, plan.devices, folder)
    stream.learner.together = Together(rank, plan.devices)
    stream.run()


def _end_with(first: int) -> None:
    """End when the first process has ended, even if it was killed before this one checked.

    Therefore its process ID is given: the parent of this process changes in that case.
    """
    while os.getppid() == first:
        time.sleep(LOOK_AGAIN)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
