"""Relatives of `pet` with a LoRA, whose neutral arguments are it to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clsuite.plugin import Plugin
from clsuite.scenarios import Scenario
from clsuite_plugins.continual_lora import ContinualLoRA
from clsuite_plugins.moe_lora import MoELoRA
from clsuite_plugins.pet import Pet
from clsuite_plugins.selective_lora import SelectiveLoRA
from clsuite_plugins.tail import TAIL

SETTINGS: dict[str, Any] = {"loss": "local"}
ALWAYS_OPEN: dict[str, Any] = {"rank": 2, "penalty": 0.0, "threshold": -1e9}
RELATIVES: dict[str, list[Plugin]] = {
    "keep": [ContinualLoRA("naive", rank=2), MoELoRA(rank=2, experts=1), SelectiveLoRA(**ALWAYS_OPEN)],
    "merge": [ContinualLoRA("merge", rank=2), SelectiveLoRA(**ALWAYS_OPEN, after_task="merge")],
}


@pytest.mark.slow
@pytest.mark.parametrize("after_task", RELATIVES)
def test_neutral_arguments_are_pet_to_the_bit(after_task: Any, make_stream: Any, scenario: Scenario) -> None:
    """Also where the relative has parameters beside those of a LoRA: routers, switches."""
    two = scenario.first(2)
    theirs = make_stream(Pet("lora", 2, after_task=after_task), on=two, **SETTINGS)
    theirs.run()
    plain = theirs.learner.state_dict()
    for relative in RELATIVES[after_task]:
        mine = make_stream(relative, on=two, **SETTINGS)
        mine.run()
        found = mine.learner.state_dict()
        for name, value in plain.items():
            assert torch.equal(found[name.replace("Pet", type(relative).__name__)], value), (relative, name)
        assert (mine.matrix.class_incremental[-1] == theirs.matrix.class_incremental[-1]).all()


def test_tail_learns_each_task_as_pet_and_forgets_nothing(make_stream: Any, scenario: Scenario) -> None:
    two = scenario.first(2)
    theirs = make_stream(Pet("lora", 2), on=two, **SETTINGS)
    mine = make_stream(TAIL(size=2, start="last"), on=two, **SETTINGS)
    theirs.run()
    mine.run()
    for name, value in theirs.learner.plugins[0].modules[0].state_dict().items():
        assert torch.equal(mine.learner.plugins[0].modules.kept[1].state_dict()[name], value)
    accuracy, plain = (stream.matrix.counts().of("task_aware").accuracy for stream in (mine, theirs))
    assert (accuracy.diagonal() == plain.diagonal()).all()
    assert accuracy[1, 0] == accuracy[0, 0]
