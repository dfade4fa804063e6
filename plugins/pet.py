"""Sequential parameter-efficient tuning: one LoRA, adapter, prefix or prompt for the whole stream."""

from __future__ import annotations

from typing import Literal

from clsuite.peft import LoRA, PetKind, attach_pet
from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, fill_defaults


class Pet(Plugin):
    """Freezes the backbone and trains a small module (LoRA, adapter, prefix, prompt, ...) and the head on every task.

    * ``lora``: Hu et al. (ICLR 2022), as in the baseline of Bafghi et al. (CVPR-W 2024): rank 8, query and value, alpha
      equal to the rank, all blocks.
    * ``adapter``: parallel to the attention, He et al. (ICLR 2022), with LAE's bottleneck of 5, all blocks.
    * ``prefix``: Li & Liang (ACL 2021) in the form of LAE (Gao et al., ICCV 2023), whose length is 10: the attention
      weights of a query on the prefix are normalized to sum to one, and each prefix has learned scales.
    * ``prompt``: Jia et al. (ECCV 2022), VPT-deep, which has prompts in all blocks: 10 tokens, with the authors' first
      values.
    * ``ia3``: Liu et al. (NeurIPS 2022); ``ssf``: Lian et al. (NeurIPS 2022). Neither has a size.
    * ``adaptformer``: Chen et al. (NeurIPS 2022), 64 hidden units.

    In the papers each task has a classifier of its own, so that the cross-entropy is local.

    Args:
        kind: ``lora``, ``adapter``, ``prefix``, ``prompt``, ``ia3``, ``adaptformer`` or ``ssf``.
        size: Rank, bottleneck, or number of prefix pairs or tokens; by default as above.
        blocks: The transformer blocks that get a module: ``all``, ``0-4``, ``0,2,5``.
        targets: For LoRA only: projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``; null
            takes ``q+v``.
        alpha: For LoRA only: numerator of the scaling factor; null takes the rank.
        adapter_scale: For AdaptFormer only: what its output is multiplied with (authors: 0.1).
        adapter_dropout: For AdaptFormer only: dropout probability of its hidden units in training (authors: 0.1).
        after_task: ``keep`` continues to train the same module. ``merge`` (LoRA) adds it to the weights and starts a
            new one, so that the sum of all tasks can have any rank.
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules",),
        training={"loss": "local"},
        defaults_by={
            "kind": {
                "lora": {"size": 8, "blocks": "all", "targets": "q+v", "alpha": None},
                "adapter": {"size": 5, "blocks": "all"},
                "prefix": {"size": 10, "blocks": "all"},
                "prompt": {"size": 10, "blocks": "all"},
                "ia3": {"size": 1, "blocks": "all"},
                "adaptformer": {"size": 64, "blocks": "all", "adapter_scale": 0.1, "adapter_dropout": 0.1},
                "ssf": {"size": 1, "blocks": "all"},
            }
        },
        paper="Hu, ICLR 2022 (LoRA)",
    )

    def __init__(
        self,
        kind: PetKind = "lora",
        size: int | None = None,
        blocks: str | None = None,
        targets: str | None = None,
        alpha: float | None = None,
        after_task: Literal["keep", "merge"] = "keep",
        adapter_scale: float | None = None,
        adapter_dropout: float | None = None,
    ) -> None:
        super().__init__()
        if after_task == "merge" and kind != "lora":
            raise UserError(f"pet: a {kind} cannot be merged into the weights; only lora can")
        self._build = fill_defaults(
            "pet", self.traits, kind=kind, size=size, blocks=blocks, targets=targets, alpha=alpha,
            adapter_scale=adapter_scale, adapter_dropout=adapter_dropout,
        )  # fmt: skip
        self.after_task = after_task

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the module."""
        self.module = attach_pet(learner, self, "module", generator=learner.generator("pet"), **self._build)

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """With ``after_task: merge``, merge the module into the weights and start a new one."""
        if self.after_task == "merge":
            assert isinstance(self.module, LoRA)
            self.module.merge(learner.backbone.model)
            self.module.reset(learner.generator("pet"))
