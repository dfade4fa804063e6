"""The scale and the dropout of AdaptFormer are arguments of every method that has such adapters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.peft.adapter import Bottleneck
from clsuite.plugin import Plugin
from clsuite_plugins.aper import APER
from clsuite_plugins.ease import EASE
from clsuite_plugins.first_session import FirstSession
from clsuite_plugins.l2p import L2P
from clsuite_plugins.lae import LAE
from clsuite_plugins.mos import MOS
from clsuite_plugins.pet import Pet
from clsuite_plugins.s_pet import SPet
from clsuite_plugins.ssiat import SSIAT
from clsuite_plugins.tuna import TUNA

KIND, PET = {"kind": "adaptformer"}, {"pet": "adaptformer"}
LINEAR = {"head": "linear", "loss": "local", "epochs": 5}
COSINE = {**LINEAR, "head": "cosine"}
METHODS: Any = [
    (APER, KIND, COSINE),
    (EASE, PET, COSINE),
    (FirstSession, KIND, COSINE),
    (L2P, PET, LINEAR),
    (LAE, {**PET, "blocks": "all"}, LINEAR),
    (MOS, {}, LINEAR),
    (Pet, KIND, LINEAR),
    (SPet, PET, LINEAR),
    (SSIAT, {}, COSINE),
    (TUNA, {}, COSINE),
]


class Stop(Plugin):
    def on_task_start(self, learner: Learner, task: Any) -> None:
        raise KeyboardInterrupt


def bottlenecks(stream: Any) -> list[Bottleneck]:
    """Of all adapters that a method has when its first task starts."""
    with pytest.raises(KeyboardInterrupt):
        stream.run()
    return [part for part in stream.learner.modules() if isinstance(part, Bottleneck)]


@pytest.mark.parametrize(("method", "arguments", "training"), METHODS)
def test_a_methods_adapters_have_the_given_scale_and_dropout(
    method: Any, arguments: Any, training: Any, make_stream: Any
) -> None:
    given = {**arguments, "adapter_scale": 2.0, "adapter_dropout": 0.25}
    parts = bottlenecks(make_stream(method(**given), Stop(), **training))
    assert parts
    for part in parts:
        torch.testing.assert_close(part.scale, torch.full_like(part.scale, 2.0))
        assert [one.p for one in part.modules() if isinstance(one, nn.Dropout)] == [0.25]


@pytest.mark.parametrize("method", [method for method, arguments, _ in METHODS if arguments])
def test_they_are_refused_for_other_modules(method: Any) -> None:
    kind = {"kind": "lora"} if method in (APER, FirstSession, Pet) else {"pet": "lora"}
    with pytest.raises(UserError, match=r"has no use for adapter_scale where \w+ is lora: leave it out"):
        method(**kind, adapter_scale=1.0)
    with pytest.raises(UserError, match=r"has no use for adapter_dropout where \w+ is lora: leave it out"):
        method(**kind, adapter_dropout=0.0)
