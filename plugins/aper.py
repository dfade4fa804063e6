"""APER: class means of pre-trained and adapted features together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clsuite.data.batch import Batch
from clsuite.learner.learner import Learner
from clsuite.learner.precision import full_precision
from clsuite.peft import PetKind
from clsuite.peft.first_session import attach_for_first_session
from clsuite.peft.query import FrozenQuery
from clsuite.plugin import Plugin, Traits
from clsuite.scenarios import Scenario, Task


class APER(Plugin):
    """Tunes a small module on the first task, then classifies by class means of the plain and the tuned features.

    Zhou et al., "Revisiting class-incremental learning with pre-trained models: generalizability and adaptivity are all
    you need" (IJCV 2024), section 4.2 (ADAM, later named APER): the module is trained with the head on the first task
    alone; the features of the plain and of the tuned network are concatenated (equation 7); the prototype of a class is
    the mean over its training images, and the nearest by cosine answers. Means are running sums.

    Args:
        kind: ``adaptformer`` (the authors' adapter), ``lora``, ``prefix``, ``prompt``, ``adapter`` or ``ia3``. (Paper:
            adapter, prompt and scale-and-shift.)
        size: Bottleneck, rank or length. (Authors' adapter: 64.)
        blocks: Where: ``all``, ``0-4``, ``0,2,5``.
    """

    traits = Traits(
        needs=("vit",),
        stores=("modules", "prototypes"),
        forbids={
            "all data": "joint training would go on from a module that the first task has fixed",
            "blocks": "both freeze the backbone and add to it",
            "masks": "the backbone is frozen: there is nothing to choose from",
            "modules": "both freeze the backbone and add to it",
        },
        gradient_free=True,
        first_session=True,
        paper="Zhou, IJCV 2024 (APER)",
    )

    def __init__(self, kind: PetKind = "adaptformer", size: int = 64, blocks: str = "all") -> None:
        super().__init__()
        self.kind, self.size, self.blocks = kind, size, blocks
        self._sums, self._numbers = torch.zeros(0, 0), torch.zeros(0)

    def on_stream_start(self, learner: Learner, scenario: Scenario) -> None:
        """Freeze the backbone and attach the module."""
        self.module = attach_for_first_session(learner, self.kind, self.size, self.blocks)
        learner.add_module_of(self, "module", self.module)
        self._plain = FrozenQuery(learner, [self.module])
        self._sums = torch.zeros(len(scenario.classes), 2 * learner.backbone.width)
        self._numbers = torch.zeros(len(scenario.classes))

    def on_task_end(self, learner: Learner, task: Task) -> None:
        """Freeze the module for good, and add the task's features to the sums of their classes."""
        self.module.requires_grad_(False)
        both = torch.cat([self._plain.of_rows(task.train), learner.features_of(task.train)], dim=1).float().cpu()
        labels = learner.labels_of(task.train).cpu()
        self._sums.index_add_(0, labels, both)
        self._numbers += torch.bincount(labels, minlength=len(self._numbers))

    def predict(self, learner: Learner, batch: Batch) -> Tensor:
        """Cosine to the mean of each seen class, ``[B, seen classes]``."""
        both = torch.cat([self._plain.of_batch(batch), learner.encode(batch).float()], dim=1)
        seen = learner.head.classes
        means = self._sums[:seen] / self._numbers[:seen, None].clamp_min(1)
        with full_precision(both):
            return F.normalize(both, dim=1) @ F.normalize(means, dim=1).to(both.device).T

    def stored_bytes(self) -> dict[str, int]:
        """The module, and the sums and numbers of the classes seen."""
        seen = int((self._numbers > 0).sum())
        return {"modules": 4 * self.module.numel, "prototypes": seen * (self._sums.shape[1] + 1) * 4}

    def state_dict(self) -> dict[str, Any]:
        """Sums and numbers; the module is saved with the learner."""
        return {"sums": self._sums, "numbers": self._numbers}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Sums and numbers."""
        self._sums, self._numbers = state_dict["sums"], state_dict["numbers"]
