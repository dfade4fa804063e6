"""First-session adaptation: a module, or the whole backbone, tuned on the first task, then frozen."""

from __future__ import annotations

from typing import Literal

from clsuite.peft import PET, attach_pet
from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, fill_defaults


class FirstSession(Plugin):
    """Trains a small module, or the whole backbone, and the head on the first task; then the features stay as they are.

    With parameter-efficient modules it is McDonnell et al., "RanPAC" (NeurIPS 2023), algorithm 1, phase 1:
    ``[first_session, ranpac]``, or with ``fecam`` or ``ncm`` in ranpac's place; as in the authors' code the head of the
    first task has cosines and a learned scale, which begins at 1. Panos et al., "First session adaptation" (ICCV 2023),
    tune the whole body (FSA: ``[first_session(kind=full), lda]``) or FiLM in a ResNet (FSA-FiLM; on a ViT ``ssf`` is
    its like), with a linear head. These classify the adapted features; the head that the first task trained is then not
    used. Alone, the head is trained on as a probe of the adapted features.

    Args:
        kind: ``adaptformer`` (APER's and RanPAC's adapter), ``prompt`` and ``ssf`` (theirs too), ``lora``, ``prefix``,
            ``adapter`` or ``ia3``; ``full`` is the whole backbone.
        size: Bottleneck, rank or length. By default 64 hidden units, 5 tokens (both APER's and RanPAC's), rank 8 or 10
            pairs.
        blocks: Where: ``all`` (the default), ``0-4``, ``0,2,5``.
        targets: Of LoRA: projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``; null takes
            ``q+v``.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit", "gradient"),
        memory=("modules",),
        first_session=True,
        training={"head": "cosine", "head_scale": 1.0, "head_init": "uniform"},
        defaults_by={
            "kind": {
                "adaptformer": {"size": 64, "blocks": "all"},
                "adapter": {"size": 64, "blocks": "all"},
                "lora": {"size": 8, "blocks": "all", "targets": "q+v"},
                "prefix": {"size": 10, "blocks": "all"},
                "prompt": {"size": 5, "blocks": "all"},
                "ia3": {"size": 1, "blocks": "all"},
                "ssf": {"size": 1, "blocks": "all"},
                "full": {},
            }
        },
        paper="Panos, ICCV 2023 (FSA)",
    )

    def __init__(
        self,
        kind: Literal["adaptformer", "adapter", "lora", "prefix", "prompt", "ia3", "ssf", "full"] = "adaptformer",
        size: int | None = None,
        blocks: str | None = None,
        targets: str | None = None,
    ) -> None:
        super().__init__()
        given = {"kind": kind, "size": size, "blocks": blocks, "targets": targets}
        self.kind, self._build = kind, fill_defaults("first_session", self.traits, **given)
        self.module: PET | None = None

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the module; the whole backbone is trained as it is.

        Raises:
            UserError: If a classifier of the features comes before this plugin: it would see them unadapted.
        """
        for plugin in learner.plugins[: learner.plugins.index(self)]:
            if plugin.traits.gradient_free:
                raise UserError("first_session must come before the plugin that classifies, as in [first_session, ncm]")
        if self.kind != "full":
            generator = learner.generator("first_session")
            self.module = attach_pet(learner, self, "module", generator=generator, **self._build)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Let the whole backbone learn on the first task: a classifier of its features has frozen it before."""
        if self.kind == "full" and task.index == 0:
            learner.backbone.requires_grad_(True)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Freeze the module, or the backbone, for good."""
        (self.module or learner.backbone).requires_grad_(False)
