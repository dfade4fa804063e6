"""NaN and infinite values end a run: by task and part, before a number is recorded."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from small_methods import BEHIND, SMALL
from torch import Tensor

from clsuite.data.batch import Batch
from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.plugin import Plugin
from clsuite.plugin.catalog import catalog, load_class
from clsuite.scenarios import Task
from clsuite_plugins.finetune import Finetune
from clsuite_plugins.lda import LDA
from clsuite_plugins.linear_probe import LinearProbe
from clsuite_plugins.ncm import NCM


class Answers(Plugin):
    """Answers with a value of no use from task 1 on."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        logits = torch.zeros(len(batch), learner.seen)
        if learner.task is not None and learner.task.index == 1:
            logits[-1, 0] = self.value
        return logits


class Breaks(Plugin):
    """Puts a value of no use into a weight as a task ends."""

    def __init__(self, task: int) -> None:
        super().__init__()
        self.task = task

    def on_task_end(self, learner: Learner, task: Task) -> None:
        if task.index == self.task:
            with torch.no_grad():
                next(learner.backbone.parameters()).view(-1)[0] = float("nan")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_answers_are_told_with_task_and_part(make_stream: Any, scenario: Any, value: float) -> None:
    stream = make_stream(Answers(value))
    names = re.escape(scenario.tasks[1].name), re.escape(scenario.eval_splits[0].name)
    with pytest.raises(UserError, match=rf"ctions of \[Answers\] .* in task 1 \({names[0]}\), in part '{names[1]}'"):
        stream.run()
    assert (stream.matrix.class_incremental[2] == -1).all()


def test_a_weight_is_told_with_its_name(make_stream: Any) -> None:
    with pytest.raises(UserError, match=r"the weights 'backbone\.model\..*' are NaN or infinite in task 1 "):
        make_stream(Breaks(1)).run()


@pytest.mark.parametrize("plugin", [NCM, LDA, LinearProbe, Finetune])
def test_features_of_a_broken_backbone_end_every_method(make_stream: Any, plugin: type[Plugin]) -> None:
    stream = make_stream(plugin())
    with torch.no_grad():
        next(stream.learner.backbone.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(UserError, match=r"NaN or infinite (before the stream|in task 0)"):
        stream.run()


@pytest.mark.parametrize("name", sorted(catalog()))
def test_no_method_makes_a_number_of_nan(make_stream: Any, name: str) -> None:
    """Where the weights break after a task, whatever the method, the run ends there."""
    info = catalog()[name]
    assert info.source is not None
    if "clip" in info.source.traits.requires:
        return
    first = [load_class(catalog()[other])(**given) for other, given in BEHIND.get(name, {}).items()]
    stream = make_stream(*first, load_class(info)(**SMALL.get(name, {})), Breaks(0))
    with pytest.raises(UserError):
        stream.run()


def test_a_loss_that_is_nan_from_bad_features_does_not_blame_the_rate(make_stream: Any, scenario: Any) -> None:
    stream = make_stream(Finetune())
    stream.learner.start(scenario)
    stream.learner.begin_task(scenario.tasks[0])
    with torch.no_grad():
        next(stream.learner.backbone.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(UserError, match=r"the features of .* images are NaN or infinite in task 0"):
        stream.learner.features_of(scenario.tasks[0].train)
