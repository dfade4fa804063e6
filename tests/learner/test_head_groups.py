"""Groups of the head that are frozen, kept and given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_growing_head import grown
from torch import Tensor

from clsuite.errors import UserError
from clsuite.learner.head import GrowingHead
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin


def test_what_is_kept_comes_back_and_what_grew_meanwhile_stays() -> None:
    head = grown(2, 3)
    before, kept = [value.clone() for value in head.parameters()], head.backup()
    head.grow(2, torch.Generator().manual_seed(1))
    newest = [value.clone() for value in head.newest_parameters()]
    with torch.no_grad():
        for value in head.parameters():
            value.mul_(2)
    head.recall(kept)
    assert all(torch.equal(value, old) for value, old in zip(head.parameters(), before, strict=False))
    assert all(torch.equal(value, 2 * old) for value, old in zip(head.newest_parameters(), newest, strict=True))
    assert head.backup([-1]).keys() == {"groups.2.weight", "groups.2.bias"}


def test_freezing_takes_groups_by_number_from_either_end() -> None:
    head = grown(2, 3, 1)
    head.freeze([0, -1])
    assert [group[0].requires_grad for group in map(head.group_parameters, range(3))] == [False, True, False]
    head.thaw()
    assert all(value.requires_grad for value in head.parameters())
    with pytest.raises(UserError, match="3 groups and none with the number 3"):
        head.freeze([3])
    with pytest.raises(UserError, match="3 groups and none with the number -4"):
        head.group_parameters(-4)


def test_a_scale_that_is_fixed_stays_and_a_linear_head_has_none() -> None:
    head = GrowingHead(4, cosine=True)
    head.fix_scale(20.0)
    head.grow(3, torch.Generator().manual_seed(0))
    head.reset(torch.Generator().manual_seed(1))
    assert head.scale is not None
    assert (float(head.scale), head.scale.requires_grad) == (20.0, False)
    with pytest.raises(UserError, match="no scale to fix"):
        grown(2).fix_scale(20.0)


class Aligns(Plugin):
    """Freezes old groups, shifts the head for the evaluation and goes on from the head as it was trained."""

    state = ("kept",)

    def __init__(self, freeze: bool = True) -> None:
        super().__init__()
        self.freeze, self.kept = freeze, dict[str, Tensor]()

    def on_task_start(self, learner: Learner, task: Any) -> None:
        learner.head.recall(self.kept)
        if self.freeze:
            learner.head.freeze(range(task.index))

    @torch.no_grad()
    def on_task_end(self, learner: Learner, task: Any) -> None:
        self.kept = learner.head.backup()
        for group in range(task.index + 1):
            for value in learner.head.group_parameters(group):
                value.add_(0.1)


@pytest.mark.slow
def test_weight_decay_leaves_frozen_groups_alone_also_after_an_interruption(make_stream: Any, tmp_path: Path) -> None:
    training = {"optimizer": {"name": "sgd", "lr": 0.05, "weight_decay": 0.1}, "loss": "local"}
    heads = []
    for stop in (None, 2):
        path = tmp_path / f"{stop}.ckpt"
        stream = make_stream(Aligns(), checkpoint=path, **training)
        if stop is not None:
            learn = stream._learn
            stream._learn = lambda task, learn=learn: learn(task) if task.index < 2 else _stop()
            with pytest.raises(KeyboardInterrupt):
                stream.run()
            stream = make_stream(Aligns(), checkpoint=path, **training)
        stream.run()
        heads.append([value.tolist() for value in stream.learner.head.parameters()])
        kept = stream.learner.plugins[0].kept
        only = make_stream(Aligns(), on=stream.scenario.first(1), **training)
        only.run()
        assert torch.equal(kept["groups.0.weight"], only.learner.plugins[0].kept["groups.0.weight"])
    assert heads[0] == heads[1]
    loose = make_stream(Aligns(freeze=False), **training)
    loose.run()
    assert not torch.equal(kept["groups.0.weight"], loose.learner.plugins[0].kept["groups.0.weight"])


def _stop() -> None:
    raise KeyboardInterrupt
