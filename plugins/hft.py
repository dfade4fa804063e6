"""Half fine-tuning (HFT)."""

from __future__ import annotations

import torch
from torch import nn

from clsuite.peft import transformer_blocks
from clsuite.plugin import Learner, Plugin, Task, Traits, UserError
from clsuite.plugin.helpers import clip_of

CATEGORIES = (("attn.qkv", "attn.proj"), ("mlp.fc1", "mlp.fc2"), ("norm1", "norm2"))


class HFT(Plugin):
    """Freezes a random half of each block in each task, and trains the other half and everything outside the blocks.

    Hui et al., "HFT: half fine-tuning for large language models" (2024): in every round, half of the parameter matrices
    of each category (attention, feed-forward, layer norm) is drawn at random and frozen; embeddings and head are always
    trained. A block of a ViT has two modules of each category, so that one of each pair is frozen, drawn independently
    in every block. Query, key and value are one matrix here. Of an attention layer, three quarters or one quarter of
    the weights are therefore frozen, where the paper freezes two of its four matrices. If both towers of a CLIP are
    trained (``training.tune: both``), this is done in the blocks of both.
    """

    traits = Traits(
        requires=("vit", "gradient"),
        incompatible_with={
            "freezes_backbone": "the blocks of the backbone are frozen already: there is nothing to halve",
            "blocks": "block expansion freezes the backbone: there is nothing to halve",
            "modules": "the backbone is frozen: there is nothing to halve",
        },
        paper="Hui, 2024 (HFT)",
        effects=("freezes for a task",),
    )

    def __init__(self) -> None:
        super().__init__()
        self._resting: list[nn.Parameter] = []

    def on_task_start(self, learner: Learner, task: Task) -> None:
        """Draw a half of the modules and freeze it.

        Raises:
            UserError: If the backbone is frozen already.
        """
        generator = learner.generator("hft")
        for block in blocks_of(learner):
            for pair in CATEGORIES:
                chosen = pair[int(torch.randint(2, (1,), generator=generator))]
                self._resting += [value for value in block.get_submodule(chosen).parameters() if value.requires_grad]
        if not self._resting:
            raise UserError("hft: the blocks of the backbone are frozen already: there is nothing to halve")
        for parameter in self._resting:
            parameter.requires_grad_(False)

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Make the frozen half trainable again."""
        for parameter in self._resting:
            parameter.requires_grad_(True)
        self._resting = []


def blocks_of(learner: Learner) -> list[nn.Module]:
    """The blocks of the image tower, followed by those of the text tower if it is trained."""
    blocks: list[nn.Module] = transformer_blocks(learner.backbone.model)
    if learner.options.tune != "image":
        blocks += transformer_blocks(clip_of(learner.backbone, f"training.tune: {learner.options.tune}").text_model)
    return blocks
