"""Sequential parameter-efficient tuning: one LoRA, adapter, prefix or prompt for the whole stream."""

from __future__ import annotations

from typing import Literal

from clsuite.peft import PET, LoRA, PetKind, attach_pet, attach_text_pet
from clsuite.plugin import Learner, Plugin, Scenario, Task, Traits, UserError, fill_defaults
from clsuite.plugin.helpers import clip_of


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

    On a CLIP with a zero-shot head the text tower can have a module too. There a ``prompt`` is CoOp's context (Zhou et
    al., IJCV 2022): learned vectors among the token embeddings of all prompts, in front of their words. It is CoOp
    with ``backbone.templates: ["{}."]``, and 16 vectors in the paper.

    Args:
        kind: ``lora``, ``adapter``, ``prefix``, ``prompt``, ``ia3``, ``adaptformer`` or ``ssf``.
        size: Rank, bottleneck, or number of prefix pairs or tokens; by default as above.
        blocks: The transformer blocks that get a module: ``all``, ``0-4``, ``0,2,5``.
        targets: For LoRA only: projections among ``q``, ``k``, ``v``, ``proj``, ``fc1``, ``fc2``, joined by ``+``; null
            takes ``q+v``.
        alpha: For LoRA only: numerator of the scaling factor; null takes the rank.
        adapter_scale: For AdaptFormer only: what its output is multiplied with (authors: 0.1).
        adapter_dropout: For AdaptFormer only: dropout probability of its hidden units in training (authors: 0.1).
        towers: CLIP's towers that get a module: ``image``, ``text`` or ``both``; null takes those of ``training.tune``.
        words: For a prompt of the text tower only: words whose token embeddings are its first values, such as "a photo
            of a" for 4 vectors; the rest are drawn from N(0, 0.02) (CoOp).
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
        towers: Literal["image", "text", "both"] | None = None,
        words: str = "",
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
        if words and kind != "prompt":
            raise UserError(f"pet: words are the first values of a prompt, and kind is {kind}: leave them out")
        self.towers, self.words, self.after_task = towers, words, after_task

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the modules.

        Raises:
            UserError: If the text tower gets a module, and the head does not read texts.
        """
        towers, self.modules = self.towers or learner.options.tune, list[PET]()
        if towers != "image" and learner.options.head != "zero_shot":
            raise UserError("pet: a module in the text tower acts on text features: it needs training.head: zero_shot")
        if towers != "text":
            build = {**self._build, "generator": learner.generator("pet")}
            self.modules.append(attach_pet(learner, self, "module", **build))
        if towers != "image":
            build = {**self._build, "generator": learner.generator("pet", "text"), "words": self.words}
            self.modules.append(attach_text_pet(learner, self, "text_module", **build))

    def on_task_exit(self, learner: Learner, task: Task) -> None:
        """With ``after_task: merge``, merge the modules into the weights and start new ones."""
        if self.after_task == "merge":
            learner.optimizer_policy.forget("plugin_modules.")  # also where it is carried on: the modules are new
        for module in self.modules if self.after_task == "merge" else ():
            assert isinstance(module, LoRA)
            of_text = ("text",) if module.on_text else ()
            module.merge(clip_of(learner.backbone, "pet").text_model if of_text else learner.backbone.model)
            module.reset(learner.generator("pet", *of_text))
