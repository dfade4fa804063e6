"""Methods whose weights begin anew forget what an optimizer knew; those with steps of their own need a precision."""

from __future__ import annotations

from typing import Any

import pytest

from clsuite.errors import UserError
from clsuite.plugin import Plugin
from clsuite_plugins.acl import ACL
from clsuite_plugins.cl_lora import CLLoRA
from clsuite_plugins.duct import DUCT
from clsuite_plugins.ease import EASE
from clsuite_plugins.hide_pet import HiDePET
from clsuite_plugins.inflora import InfLoRA
from clsuite_plugins.pet import Pet
from clsuite_plugins.s_pet import SPet
from clsuite_plugins.sd_lora import SDLoRA
from clsuite_plugins.sema import SEMA


class Look(Plugin):
    """Keeps the names of the weights of which the optimizer knows something before the first step of a task."""

    def __init__(self) -> None:
        super().__init__()
        self.known: list[set[str]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            state = trainer.optimizers[0].state
            self.known.append({name for name, value in pl_module.named_parameters() if value in state})


@pytest.mark.parametrize(
    ("plugin", "anew", "goes_on"),
    [
        (DUCT(epochs=1), ("backbone.", "head."), ()),
        (InfLoRA(rank=2), ("plugin_modules.",), ("head.groups.0.weight",)),
        (EASE(), ("head.",), ()),
        (SDLoRA(rank=2), ("plugin_modules.SDLoRA_directions.magnitudes.",), ("head.groups.0.weight",)),
        (SPet("lora"), ("head.",), ()),
        (CLLoRA(rank=2), ("head.",), ("plugin_modules.CLLoRA_shared.parts.0_q.up",)),
        (Pet(after_task="merge"), ("plugin_modules.",), ("head.scale",)),
    ],
)
def test_what_begins_anew_has_no_momentum(
    plugin: Plugin, anew: tuple[str, ...], goes_on: tuple[str, ...], make_stream: Any
) -> None:
    look = Look()
    make_stream(look, plugin, loss="local", head="cosine", recreate_optimizer=False).run()
    assert len(look.known) == 3
    for known in look.known:
        assert not [name for name in known if name.startswith(anew)]
    assert all({*goes_on} <= known for known in look.known[1:])


@pytest.mark.parametrize("plugin", [ACL(), SEMA(size=4, code=8), CLLoRA(rank=2), HiDePET()])
def test_steps_of_their_own_are_refused_in_a_precision_that_scales_losses(plugin: Plugin, make_stream: Any) -> None:
    stream = make_stream(plugin, precision="16")
    with pytest.raises(UserError, match="precision 16 scales gradients, and those of its own steps are not"):
        plugin.on_stream_start(stream.learner, stream.scenario)
