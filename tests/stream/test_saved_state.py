"""Modules whose number and shape follow from data are made again by what the plugin had saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import bits, interrupted
from torch import Tensor, nn

from clsuite.conformance.fixtures import without_data
from clsuite.learner.learner import Learner, Step
from clsuite.plugin import Plugin, Traits
from clsuite.stream.checkpoint import learner_state, load_learner_state


class Grows(Plugin):
    """Adds, in some tasks, a module of a size that the task's features decide."""

    traits = Traits(memory=("modules", "statistics"))
    state = ("sizes",)

    def __init__(self) -> None:
        super().__init__()
        self.sizes, self.parts = list[int](), list[nn.Linear]()

    def before_task_training(self, learner: Learner, task: Any) -> None:
        spread = torch.linalg.svdvals(learner.features_of(task.train))
        if task.index != 1:
            self.sizes = [*self.sizes, int((spread > spread.mean()).sum())]
            self.add(learner, self.sizes[-1])

    def rebuild_modules(self, learner: Learner, tasks: int) -> None:
        assert dict(self.saved_state).keys() == {"sizes"}
        for size in self.saved_state["sizes"]:
            self.add(learner, size)

    def add(self, learner: Learner, size: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(size)
            self.parts.append(nn.Linear(learner.backbone.width, size))
        learner.register_plugin_module(self, f"part{len(self.parts)}", self.parts[-1])

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        return torch.stack([part(step.features).square().mean() for part in self.parts]).sum() if self.parts else None

    def stored_bytes(self) -> dict[str, int]:
        return {**super().stored_bytes(), "statistics": 8 * len(self.sizes)}


@pytest.mark.slow
def test_interrupted_between_and_within_tasks_it_ends_in_the_same_bits(make_stream: Any, tmp_path: Path) -> None:
    alone = make_stream(Grows())
    alone.run()
    grows = alone.learner.plugins[0]
    assert len(grows.sizes) == 2
    assert not grows.saved_state
    assert "saved_state" not in vars(grows)
    again = interrupted(make_stream, tmp_path / "x.ckpt", 2, alone.tasks[2].steps - 1, lambda: [Grows()])
    for mine, his in zip(bits(again), bits(alone), strict=True):
        assert mine == his


def test_a_model_is_loaded_without_data(make_stream: Any) -> None:
    stream, fresh = make_stream(Grows()), make_stream(Grows())
    stream.run()
    fresh.learner.start(without_data(stream.scenario))
    load_learner_state(fresh.learner, learner_state(stream.learner, 3))
    for name, value in stream.learner.state_dict().items():
        assert torch.equal(value, fresh.learner.state_dict()[name])


def test_it_cannot_be_written_into(make_stream: Any) -> None:
    class Writes(Grows):
        def rebuild_modules(self, learner: Learner, tasks: int) -> None:
            self.saved_state["sizes"] = []  # type: ignore[index]

    stream, fresh = make_stream(Grows()), make_stream(Writes())
    stream.scenario = stream.scenario.first(1)
    stream.matrix = type(stream.matrix)(stream.scenario)
    stream.run()
    fresh.learner.start(stream.scenario)
    with pytest.raises(TypeError, match="does not support item assignment"):
        load_learner_state(fresh.learner, learner_state(stream.learner, 1))
