"""First-session adaptation: a module tuned on the first task, then frozen."""

from __future__ import annotations

from typing import Any

from clsuite.errors import UserError
from clsuite.learner.learner import Learner
from clsuite.peft import PetKind
from clsuite.peft.first_session import attach_for_first_session
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class FirstSession(Plugin):
    """Trains a small module and the head on the first task; from then on the features stay as they are.

    Panos et al., "First session adaptation" (ICCV 2023); with parameter-efficient modules as McDonnell et al., "RanPAC"
    (NeurIPS 2023), algorithm 1, phase 1: ``[first_session, ranpac]``, or with ``fecam`` or ``ncm`` in ranpac's place.
    These classify the adapted features; the head that the first task trained is then not used. Alone, the head is
    trained on as a linear probe of the adapted features.

    Args:
        kind: ``adaptformer``, ``lora``, ``prefix``, ``prompt``, ``adapter`` or ``ia3``. (RanPAC: one of APER's adapter,
            which is ``adaptformer``, scale-and-shift and prompt.)
        size: Bottleneck, rank or length. (RanPAC's adapter: 64.)
        blocks: Where: ``all``, ``0-4``, ``0,2,5``.
        targets: Of LoRA: projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``.
    """

    traits = Traits(
        needs=("vit", "gradient"),
        stores=("modules",),
        forbids={
            "all data": "joint training would go on from a module that the first task has fixed",
            "blocks": "both freeze the backbone and add to it",
            "masks": "the backbone is frozen: there is nothing to choose from",
            "modules": "both freeze the backbone and add to it",
        },
        first_session=True,
        paper="Panos, ICCV 2023 (FSA)",
    )

    def __init__(
        self, kind: PetKind = "adaptformer", size: int = 64, blocks: str = "all", targets: str = "q+v"
    ) -> None:
        super().__init__()
        self.kind, self.size, self.blocks, self.targets = kind, size, blocks, targets

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the module.

        Raises:
            UserError: If a classifier of the features comes before this plugin: it would see them unadapted.
        """
        for plugin in learner.plugins[: learner.plugins.index(self)]:
            if plugin.traits.gradient_free:
                raise UserError("first_session must come before the plugin that classifies, as in [first_session, ncm]")
        self.module = attach_for_first_session(learner, self.kind, self.size, self.blocks, self.targets)
        learner.add_module_of(self, "module", self.module)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Freeze the module for good."""
        self.module.requires_grad_(False)

    def stored_bytes(self) -> dict[str, int]:
        """The module."""
        return {"modules": 4 * self.module.numel}

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the module is saved with the learner."""
        return {}
