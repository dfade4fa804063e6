"""First-session adaptation: a module, or the whole backbone, is tuned on the first task and then frozen."""

from __future__ import annotations

from typing import Literal

from clsuite.peft import PET, attach_pet
from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, fill_defaults


class FirstSession(Plugin):
    """Trains a small module, or the whole backbone, and the head on the first task; then the features are fixed.

    The module or the backbone prepares features for a classifier that comes after this plugin:

    * McDonnell et al., "RanPAC" (NeurIPS 2023), algorithm 1, phase 1: ``[first_session, ranpac]`` with a
      parameter-efficient module, or with ``fecam`` or ``ncm`` instead of ``ranpac``. As in the authors' code, the head
      of the first task is a cosine head with a learned scale that starts at 1.
    * Panos et al., "First session adaptation" (ICCV 2023): ``[first_session(kind=full), lda]`` tunes the whole backbone
      (FSA). The paper also tunes FiLM in a ResNet (FSA-FiLM); the closest to it in a ViT is ``ssf``. Both use a linear
      head.

    The classifier uses the adapted features, and the head that the first task trained is not used. Without a
    classifier, the head is trained on later tasks as a linear probe of the adapted features.

    Args:
        kind: ``adaptformer`` (the adapter of APER and RanPAC), ``prompt`` and ``ssf`` (also in these two), ``lora``,
            ``prefix``, ``adapter`` or ``ia3``; ``full`` is the whole backbone.
        size: Bottleneck, rank or length. By default 64 hidden units, 5 tokens (both as in APER and RanPAC), rank 8 or
            10 pairs.
        blocks: The transformer blocks that get a module: ``all`` (the default), ``0-4``, ``0,2,5``.
        targets: For LoRA only: projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``; null
            takes ``q+v``.
        adapter_scale: For AdaptFormer only: what its output is multiplied with (authors: 0.1).
        adapter_dropout: For AdaptFormer only: dropout probability of its hidden units in training (authors: 0.1).
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit", "gradient"),
        memory=("modules",),
        first_session=True,
        training={"head": "cosine", "head_scale": 1.0, "head_init": "uniform"},
        defaults_by={
            "kind": {
                "adaptformer": {"size": 64, "blocks": "all", "adapter_scale": 0.1, "adapter_dropout": 0.1},
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
        adapter_scale: float | None = None,
        adapter_dropout: float | None = None,
    ) -> None:
        super().__init__()
        given = {"kind": kind, "size": size, "blocks": blocks, "targets": targets}
        of_adapter = {"adapter_scale": adapter_scale, "adapter_dropout": adapter_dropout}
        self.kind, self._build = kind, fill_defaults("first_session", self.traits, **given, **of_adapter)
        self.module: PET | None = None

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the module; with ``kind=full`` no module is attached.

        Raises:
            UserError: If a plugin that classifies features comes before this one: it would get features that are not
                adapted.
        """
        for plugin in learner.plugins[: learner.plugins.index(self)]:
            if plugin.traits.gradient_free:
                raise UserError("first_session must come before the plugin that classifies, as in [first_session, ncm]")
        if self.kind != "full":
            generator = learner.generator("first_session")
            self.module = attach_pet(learner, self, "module", generator=generator, **self._build)

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Train the whole backbone on the first task; the classifier that follows has frozen it before."""
        if self.kind == "full" and task.index == 0:
            learner.backbone.requires_grad_(True)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Freeze the module, or the backbone, permanently."""
        (self.module or learner.backbone).requires_grad_(False)
