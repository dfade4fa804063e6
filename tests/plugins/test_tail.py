"""TAIL: what a task has learned is answered for ever, whatever comes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clsuite.data.batch import gather
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.tail import TAIL


class Ask(Plugin):
    """Keeps the logits of the first task's classes at the end of each task, and the modules at the start."""

    def __init__(self, method: TAIL) -> None:
        super().__init__()
        self.method, self.logits, self.begun = method, list[Tensor](), list[list[Tensor]]()

    def on_task_start(self, learner: Learner, task: Any) -> None:
        self.begun.append([value.detach().clone() for value in self.method.modules.current.parameters()])

    def on_task_end(self, learner: Learner, task: Any) -> None:
        batch = gather(learner.scenario.table, learner.scenario.labels, learner.scenario.tasks[0].test)
        assert batch.images is not None
        with torch.no_grad():
            answer = learner.eval().predict_logits(batch.with_images(learner.backbone.normalize(batch.images)))
        self.logits.append(answer)


def test_no_bit_of_an_earlier_tasks_logits_changes(make_stream: Any, scenario: Scenario) -> None:
    method = TAIL(size=2)
    ask = Ask(method)
    stream = make_stream(method, ask, loss="local", epochs=2)
    stream.run()
    assert torch.equal(ask.logits[0], ask.logits[1][:, :2])
    assert torch.equal(ask.logits[0], ask.logits[2][:, :2])
    accuracy = stream.matrix.counts().of("task_aware").accuracy
    assert all((accuracy[row:, row] == accuracy[row, row]).all() for row in range(3))
    assert accuracy.diagonal().min() > 0.7
    assert method.stored_bytes() == {"modules": 3 * 4 * method.modules.current.numel}
    learner, kept = stream.learner.eval(), method.modules.kept[1]
    batch = gather(scenario.table, scenario.labels, scenario.tasks[0].test[:4])
    batch = batch.with_images(learner.backbone.normalize(batch.images))
    with torch.no_grad(), method.modules.current.switched(False), kept.switched(True):
        expected = learner.head(learner.backbone(batch.images))[:, 2:4]
        torch.testing.assert_close(learner.predict_logits(batch)[:, 2:4], expected)


def test_a_tasks_module_begins_fresh_or_with_the_last_one_and_noise(make_stream: Any, scenario: Scenario) -> None:
    begun = {}
    for name, method in {"fresh": TAIL(size=2), "noise": TAIL(size=2, start="last", noise=1e-3)}.items():
        ask = Ask(method)
        make_stream(method, ask, on=scenario.first(2), loss="local").run()
        begun[name] = (ask.begun[1], [value for value in method.modules.kept[0].parameters()])
    fresh, last = begun["fresh"]
    assert all(value.any() != other.any() for value, other in zip(fresh[1::2], last[1::2], strict=True))  # B: zero
    assert not any(torch.equal(value, other) for value, other in zip(fresh[::2], last[::2], strict=True))
    apart = torch.cat([(value - other).flatten() for value, other in zip(*begun["noise"], strict=True)])
    assert apart.std() == pytest.approx(1e-3, rel=0.1)


def test_what_cannot_be_is_refused(make_stream: Any) -> None:
    with pytest.raises(UserError, match="tail: noise is added to the last task's module: write start: last"):
        TAIL(noise=0.1)
    with pytest.raises(UserError, match=r"tail: training\.head_classes must be seen"):
        make_stream(TAIL(size=2), head_classes="stream").run()
