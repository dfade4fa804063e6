"""Modules of plugins: two of one name are no more one."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from clsuite.errors import UserError
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
