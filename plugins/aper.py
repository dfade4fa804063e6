"""APER: class means of pre-trained and adapted features together."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.peft import FrozenQuery, PetKind, attach_pet
from clsuite.plugin import Batch, Learner, Plugin, Scenario, Task, Traits, fill_defaults
from clsuite.plugin.helpers import TakenRows, full_precision

BELOW_ALL = -10.0
"""Score of a class that has no mean yet, which is less than any cosine."""


class APER(Plugin):
    """Tunes a small module on the first task, then classifies by class means of the plain and the tuned features.

    Zhou et al., "Revisiting class-incremental learning with pre-trained models: generalizability and adaptivity are all
    you need" (IJCV 2024), section 4.2 (ADAM, later named APER). The module is trained, together with the head, on the
    first task only. Afterwards the features of the pre-trained and of the tuned network are concatenated (equation 7).
    The prototype of a class is the mean of these features over its training images, and the class with the nearest
    prototype by cosine is predicted. The means are running sums; an image that occurs again does not count again. As in
    the authors' code (PILOT), the head of the first task is a cosine head with a learned scale that starts at 1.

    The paper's variants are an adapter (the default); VPT-deep, ``kind: prompt, prompt_init: zeros``; VPT-shallow, the
    same with ``blocks: "0"``; and SSF, ``kind: ssf, ends: true``.

    Args:
        kind: ``adaptformer`` (the authors' adapter), ``prompt`` (their VPT), ``ssf`` (their scale-and-shift), or
            ``lora``, ``prefix``, ``adapter`` or ``ia3``, which are not in the paper.
        size: Bottleneck, rank or length. By default 64 hidden units (authors), 5 tokens (authors), rank 8 or 10 pairs.
        blocks: The transformer blocks that get a module: ``all`` (the default), ``0-4``, ``0,2,5``. The prompts of a
            block stay up to the next of these, or to the end.
        prompt_init: For prompts only, their first values: ``zeros`` as in the authors' code, or as in other papers'
            (``clsuite.peft.first_values``); ``xavier``, VPT's own, by default.
        ends: For SSF only, whether it also acts after the patch embedding and the last norm (authors: yes; false by
            default).
        adapter_scale: For AdaptFormer only: what its output is multiplied with (authors: 0.1).
        adapter_dropout: For AdaptFormer only: dropout probability of its hidden units in training (authors: 0.1).
    """

    traits = Traits(
        freezes_backbone=True,
        requires=("vit",),
        memory=("modules", "prototypes"),
        gradient_free=True,
        first_session=True,
        training={"head": "cosine", "head_scale": 1.0, "head_init": "uniform"},
        scores="cosine",
        defaults_by={
            "kind": {
                "adaptformer": {"size": 64, "blocks": "all", "adapter_scale": 0.1, "adapter_dropout": 0.1},
                "adapter": {"size": 64, "blocks": "all"},
                "lora": {"size": 8, "blocks": "all"},
                "prefix": {"size": 10, "blocks": "all"},
                "prompt": {"size": 5, "blocks": "all", "prompt_init": "xavier"},
                "ia3": {"size": 1, "blocks": "all"},
                "ssf": {"size": 1, "blocks": "all", "ends": False},
            }
        },
        paper="Zhou, IJCV 2024 (APER)",
    )
    state = ("_sums", "_numbers", "_taken")

    def __init__(
        self,
        kind: PetKind = "adaptformer",
        size: int | None = None,
        blocks: str | None = None,
        prompt_init: Literal["zeros", "xavier", "unit", "small", "linear"] | None = None,
        ends: bool | None = None,
        adapter_scale: float | None = None,
        adapter_dropout: float | None = None,
    ) -> None:
        super().__init__()
        given = {"kind": kind, "size": size, "blocks": blocks, "prompt_init": prompt_init, "ends": ends}
        of_adapter = {"adapter_scale": adapter_scale, "adapter_dropout": adapter_dropout}
        self._build = fill_defaults("aper", self.traits, **given, **of_adapter)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the module."""
        self.module = attach_pet(learner, self, "module", generator=learner.generator("first_session"), **self._build)
        self._plain = FrozenQuery(learner, [self.module])
        self._sums = torch.zeros(len(scenario.classes), 2 * learner.backbone.width)
        self._numbers = torch.zeros(len(scenario.classes))
        self._taken = TakenRows(len(scenario.table))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Freeze the module permanently, and add the features of the task's new images to the class sums."""
        self.module.requires_grad_(False)
        indices = self._taken.new(task.train)
        if not len(indices):
            return
        both = torch.cat([self._plain.of_rows(indices), learner.features_of(indices)], dim=1).float().cpu()
        labels = learner.labels_of(indices).cpu()
        self._sums.index_add_(0, labels, both)
        self._numbers += torch.bincount(labels, minlength=len(self._numbers))

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Cosine to the mean of each seen class, ``[B, seen classes]``; classes without a mean come last."""
        both = torch.cat([self._plain.of_batch(batch), learner.encode(batch).float()], dim=1)
        seen = learner.seen
        means = self._sums[:seen] / self._numbers[:seen, None].clamp_min(1)
        with full_precision(both):
            cosines = F.normalize(both, dim=1) @ F.normalize(means, dim=1).to(both.device).T
        return cosines.masked_fill((self._numbers[:seen] == 0).to(both.device), BELOW_ALL)

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of the module, and of the sums and image counts of the seen classes."""
        seen = int((self._numbers > 0).sum())
        return super().stored_bytes() | {"prototypes": seen * (self._sums.shape[1] + 1) * 4}
