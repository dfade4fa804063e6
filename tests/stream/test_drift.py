"""What is measured while a stream is learned, against snapshots taken by hand."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch

from clsuite.metrics.sensitivity import by_kind, mean_sensitivity
from clsuite.stream.drift import ParameterDrift
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.pet import Pet


class Snapshots(L.Callback):
    """Keeps all parameters at the start of each task and at the end of each epoch."""

    def __init__(self) -> None:
        self.tasks: list[list[dict[str, torch.Tensor]]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.tasks.append([])
        self._take(pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._take(pl_module)

    def _take(self, module: Any) -> None:
        self.tasks[-1].append({name: value.detach().clone() for name, value in module.named_parameters()})


def mean_change(before: dict[str, torch.Tensor], now: dict[str, torch.Tensor], names: list[str]) -> float:
    distance = sum(float((now[name] - before[name]).abs().sum()) for name in names)
    return distance / sum(now[name].numel() for name in names)


def test_distances_are_those_between_snapshots(make_stream: Any) -> None:
    stream, movement, taken = make_stream(Finetune(), epochs=2), ParameterDrift(), Snapshots()
    stream.observers = (movement, taken)
    stream.run()
    assert [len(task) for task in taken.tasks] == [3, 3, 3]
    names = [f"backbone.model.blocks.1.mlp.fc1.{part}" for part in ("weight", "bias")]
    epochs = [mean_change(task[n], task[n + 1], names) for task in taken.tasks for n in range(2)]
    tasks = [mean_change(taken.tasks[n][2], taken.tasks[n + 1][2], names) for n in range(2)]
    assert mean_sensitivity(movement.moves, "epochs")[("1", "MLP fc1")] == pytest.approx(sum(epochs) / 6, rel=1e-4)
    assert mean_sensitivity(movement.moves, "tasks")[("1", "MLP fc1")] == pytest.approx(sum(tasks) / 2, rel=1e-4)
    heads = [move for move in movement.moves if move.site[1] == "head" and move.between == "tasks"]
    assert [move.size for move in heads] == [2 * 193, 4 * 193]
    assert all(value > 0 for value in by_kind(movement.moves, "epochs").values())


@pytest.mark.slow
def test_watching_changes_nothing_and_frozen_modules_are_left_out(make_stream: Any) -> None:
    movement, streams = ParameterDrift(), [make_stream(Pet(size=2), epochs=2) for _ in range(2)]
    streams[1].observers = (movement,)
    for stream in streams:
        stream.run()
    for name, value in streams[0].learner.state_dict().items():
        assert torch.equal(value, streams[1].learner.state_dict()[name]), name
    assert streams[0].matrix.counts() == streams[1].matrix.counts()
    assert set(by_kind(movement.moves, "tasks")) == {"head", "added modules"}
