"""Parts of a benchmark that entry points name: a data set, a scenario, a probe, an optimizer and a schedule."""

import numpy as np
import torch

from clsuite.data import ImageData
from clsuite.probes import Probe
from clsuite.scenarios import ScenarioBuilder, make_scenario


class Stripes(ImageData):
    """Images with stripes whose direction is the class."""

    classes = ("across", "down", "both", "none")

    def __init__(self, number: int = 6) -> None:
        ramp = np.arange(32, dtype=np.uint8)[None] * 8 + np.zeros((32, 1), np.uint8)
        kinds = [ramp, ramp.T, np.maximum(ramp, ramp.T), np.full((32, 32), 120, np.uint8)]
        self.train = self.test = [(image, label) for label, image in enumerate(kinds) for _ in range(number)]


class Halves(ScenarioBuilder):
    """The first half of the classes, then the other."""

    def build(self, table, seed):
        middle, tasks = len(table.classes) // 2, []
        for name, member in (("first", table.labels < middle), ("second", table.labels >= middle)):
            tasks.append((name, np.flatnonzero(member & ~table.is_test), np.flatnonzero(member & table.is_test)))
        return make_scenario("class_incremental", table, tasks)


class Width(Probe):
    """The length of a feature."""

    def read(self, learner):
        return learner.backbone.width


class Plain(torch.optim.Optimizer):
    """Gradient descent."""

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure() if closure else None
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is not None:
                    value.add_(value.grad, alpha=-group["lr"])
        return loss


class Halving(torch.optim.lr_scheduler.LRScheduler):
    """Half the rate after each epoch."""

    def get_lr(self):
        return [rate * 0.5**self.last_epoch for rate in self.base_lrs]
