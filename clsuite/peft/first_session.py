"""A module that is trained on the first task alone."""

from __future__ import annotations

import torch

from clsuite.peft.base import PET
from clsuite.peft.build import PetKind, build_pet
from clsuite.peft.protocols import Host


def attach_for_first_session(learner: Host, kind: PetKind, size: int, blocks: str, targets: str | None = None) -> PET:
    """Freeze the backbone and attach a new module to it; the seed alone decides the module's first values.

    Args:
        learner: The learner, before its first task; the module must still be registered with it.
        kind: ``lora``, ``adapter``, ``prefix``, ``prompt``, ``ia3``, ``adaptformer`` or ``ssf``.
        size: Rank, bottleneck, or length; IA3 and SSF have none.
        blocks: Where: ``all``, ``0-4``, ``0,2,5``.
        targets: Of LoRA: the projections; by default query and value.

    Raises:
        UserError: If the sizes or blocks do not fit the network.
    """
    learner.backbone.requires_grad_(False)
    model = learner.backbone.model
    generator = torch.Generator().manual_seed(learner.generator("first_session").initial_seed())
    module = build_pet(kind, model, size=size, blocks=blocks, generator=generator, targets=targets)
    module.attach(model)
    return module
