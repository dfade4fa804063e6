"""HFT moves one half of each block and leaves the other bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.learner.options import OptimizerSpec
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import find_plugin
from clsuite.plugin.compatibility import check_method
from clsuite_plugins.hft import CATEGORIES, HFT
from clsuite_plugins.linear_probe import LinearProbe


class Weights(Plugin):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_task_start(self, learner: Learner, task: Any) -> None:
        if task.index == 0:
            self.on_task_end(learner, task)

    def on_task_end(self, learner: Learner, task: Any) -> None:
        self.seen.append({name: value.clone() for name, value in learner.backbone.state_dict().items()})


def test_one_of_each_pair_rests_and_tasks_draw_anew(make_stream: Any) -> None:
    weights = Weights()
    decay = OptimizerSpec(lr=5e-4, weight_decay=0.1)
    stream = make_stream(HFT(), weights, optimizer=decay)
    stream.run()
    halves = []
    for before, after in zip(weights.seen, weights.seen[1:], strict=False):
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
        assert any("patch_embed" in name for name in moved)
        choice = []
        for block in range(len(stream.learner.backbone.model.blocks)):
            for pair in CATEGORIES:
                acting = [f"model.blocks.{block}.{module}.weight" in moved for module in pair]
                assert sum(acting) == 1
                choice.append(acting[0])
        halves.append(choice)
    assert len({tuple(choice) for choice in halves}) > 1
    assert all(parameter.requires_grad for parameter in stream.learner.parameters())


def test_a_frozen_backbone_is_refused(make_stream: Any) -> None:
    with pytest.raises(UserError, match="frozen already"):
        make_stream(LinearProbe(), HFT()).run()
    with pytest.raises(UserError, match="nothing to halve"):
        check_method([(name, find_plugin(name)[1]) for name in ("hft", "pet")], "class_incremental")
