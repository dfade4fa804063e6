"""Files of classes of somebody's own, as an author would write them beside a benchmark."""

from __future__ import annotations

from pathlib import Path

DATA = '''
import numpy as np
from clsuite.data import ImageData


class Shades(ImageData):
    """Gray images whose shade is the class."""

    def __init__(self, classes: int = 4, noise: int = 40):
        self.classes = [f"shade{label}" for label in range(classes)]
        random = np.random.default_rng(0)

        def part(number):
            labels = np.repeat(np.arange(classes), number)
            shades = (labels * 255 // classes)[:, None, None] + random.integers(0, noise, (len(labels), 12, 12))
            return np.clip(shades, 0, 255).astype(np.uint8), labels

        self.train, self.test = part(12), part(6)
'''
STREAM = '''
import numpy as np
from clsuite.scenarios import ScenarioBuilder, make_scenario


class Pairs(ScenarioBuilder):
    """Some classes in each task."""

    def __init__(self, per_task: int = 2):
        self.per_task = per_task

    def build(self, table, seed):
        order = np.random.default_rng(seed).permutation(len(table.classes))
        tasks = []
        for start in range(0, len(order), self.per_task):
            member = np.isin(table.labels, order[start : start + self.per_task])
            parts = (np.flatnonzero(member & ~table.is_test), np.flatnonzero(member & table.is_test))
            tasks.append((f"from {start}", *parts))
        return make_scenario("class_incremental", table, tasks)
'''
PROBE = '''
from clsuite.probes import Probe


class Norm(Probe):
    """The squared norm of the backbone."""

    higher_is_better = False

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def read(self, learner):
        return self.scale * float(sum(value.detach().square().sum() for value in learner.backbone.parameters()))
'''
NET = '''
import torch
from torch import nn


class Net(nn.Module):
    """One convolution."""

    normalize = ((0.5,), (0.25,))

    def __init__(self, width: int = 16):
        super().__init__()
        self.width = width
        self.conv = nn.Conv2d(3, width, 3, stride=2)

    def features(self, images):
        return torch.relu(self.conv(images)).mean(dim=(2, 3))
'''
FILES = {"my_data.py": DATA, "my_stream.py": STREAM, "my_probe.py": PROBE, "my_net.py": NET}
BENCHMARK = """
name: own
dataset: {class: ./my_data.py:Shades, classes: 4}
scenario: {class: my_stream.py:Pairs, per_task: 2}
backbone: {class: my_net.py:Net, width: 24, image_size: 16}
probes: [{class: my_probe.py:Norm, scale: 2.0, name: norm}]
training:
  epochs: 2
  precision: "32"
  optimizer: {class: "torch.optim:NAdam", lr: 0.01, betas: [0.9, 0.99]}
  schedule: {class: "torch.optim.lr_scheduler:StepLR", step_size: 1}
seeds: [0]
methods:
  finetune: finetune
  replay: replay(capacity=8)
  ncm: ncm
"""


def write_files(folder: Path, **changed: str) -> Path:
    """Write the files and the benchmark that names them; returns the benchmark."""
    for name, text in FILES.items():
        (folder / name).write_text(changed.get(name.removesuffix(".py"), text))
    path = folder / "own.yaml"
    path.write_text(changed.get("benchmark", BENCHMARK))
    return path
