"""Modules of plugins: two of one name are no more one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from clsuite.data.stable_random import derive_seed
from clsuite.errors import UserError
from clsuite.peft import attach_pet, transformer_blocks
from clsuite.plugin import Plugin


def twin(width: int) -> Plugin:
    class Twin(Plugin):
        def on_stream_start(self, learner: Any, scenario: Any) -> None:
            learner.register_plugin_module(self, "m", nn.Linear(2, width))

    return Twin()


def test_classes_of_one_name_do_not_overwrite_each_others_modules(make_stream: Any) -> None:
    stream = make_stream(twin(3), twin(5))
    with pytest.raises(UserError, match="two plugins called Twin register a module 'm'"):
        stream.learner.start(stream.scenario)


def test_a_plugin_may_put_another_module_in_place_of_its_own(make_stream: Any) -> None:
    plugin, learner = twin(3), make_stream().learner
    for width in (3, 4):
        learner.register_plugin_module(plugin, "m", nn.Linear(2, width))
    assert learner.plugin_modules["Twin_m"].out_features == 4


def test_registered_modules_are_known_and_counted(make_stream: Any) -> None:
    plugin, learner = twin(3), make_stream().learner
    learner.register_plugin_module(plugin, "m", nn.Linear(2, 3))
    learner.register_plugin_module(plugin, "n", nn.Linear(1, 1))
    assert list(plugin.registered_modules) == ["m", "n"]
    assert plugin.stored_bytes() == {"modules": 4 * (9 + 2)}


def test_a_module_is_attached_to_a_frozen_backbone_and_can_rest(make_stream: Any) -> None:
    plugin, learner = twin(3), make_stream().learner
    given = {"size": 2, "blocks": "0", "generator": learner.generator("mine")}
    module = attach_pet(learner, plugin, "m", "adapter", **given)
    trained = {name.split(".")[0] for name, value in learner.named_parameters() if value.requires_grad}
    assert trained - {"head"} == {"plugin_modules"}
    assert learner.plugin_modules["Twin_m"] is module is plugin.registered_modules["m"]
    assert plugin.stored_bytes() == {"modules": 4 * module.numel}
    nn.init.ones_(next(module.parameters()))
    attention = transformer_blocks(learner.backbone.model)[0].attn
    assert attention._forward_hooks or attention._forward_pre_hooks
    module.rest()
    assert not module.enabled
    assert learner.frozen


def test_draws_follow_seed_task_and_purpose_on_the_cpu(make_stream: Any) -> None:
    learner = make_stream().learner
    draws = [
        torch.rand(3, generator=learner.generator(*words)).tolist() for words in (("a",), ("a",), ("b",), ("a", 1))
    ]
    assert draws[0] == draws[1]
    assert draws[2] != draws[0] != draws[3]
    generator = learner.generator("a")
    assert generator.device == torch.device("cpu")
    assert generator.initial_seed() == derive_seed(learner.seed, -1, "a")
    assert learner.generator("a", device=learner.device).initial_seed() == generator.initial_seed()


def test_the_device_is_that_of_the_backbone(make_stream: Any) -> None:
    learner = make_stream().learner
    learner.backbone.to("meta")
    assert learner.device == torch.device("meta")
